#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second, naive reader of segment files, from docs/SEGMENT_FORMAT.md alone.

Prints one line per entry of the footer, or of a walk where there is none, and
checks every checksum on the way. Python's standard library only. Not fast.

    read_segment.py FILE
"""

import hashlib
import struct
import sys

CHUNK = 1 << 20
NO_PAYLOAD = 2 | 4 | 16
FILE_HEADER = "<8sIIIIII16s16s32sQQQQQQQ16sQQII512s316xI"
RECORD = "<8sII16sQQQIIIIQ"
ITEM = "<32s32s32sQQQQIIIIIfIIII24x"
ENTRY = "<32s32sQQQQQIIIHHQ"
TRAILER = "<8sII16sQQQQQQQQQQQII32sQI80xI"


def make_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = make_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def checksum(payload):
    crcs = [crc32c(payload[i : i + CHUNK]) for i in range(0, len(payload), CHUNK)]
    return crc32c(struct.pack("<%dI" % len(crcs), *crcs)), crcs


def require(condition, what):
    if not condition:
        sys.exit("read_segment: " + what)


def read_file_header(data):
    fields = struct.unpack_from(FILE_HEADER, data)
    require(fields[0] == b"CSCDSEG\n", "not a segment file")
    require(fields[1] == 1, "format version %d" % fields[1])
    require(fields[2] == 1024, "length of the file header")
    require(fields[-1] == crc32c(data[:1020]), "checksum of the file header")
    return {
        "alignment": fields[3],
        "kind": fields[4],
        "flags": fields[5],
        "uuid": fields[7],
        "namespace": fields[9],
        "number": fields[10],
        "created": (fields[13], fields[14]),
        "subject_uuid": fields[17],
        "subject_bytes": fields[18],
        "subject_path": fields[22][: fields[20]].decode(),
    }


def read_record(data, offset, head):
    """The record at offset as a dictionary, or None."""
    if offset + 80 > len(data):
        return None
    fields = struct.unpack_from(RECORD, data, offset)
    magic, version, kind, uuid, seq, place, record_bytes, header_bytes, count = (
        fields[:9]
    )
    if magic != b"CSCDREC\n" or version != 1 or uuid != head["uuid"]:
        return None
    if place != offset or seq == 2**64 - 1 or not 1 <= kind <= 4:
        return None
    if header_bytes == 0 or header_bytes % head["alignment"]:
        return None
    if header_bytes > 262144 or offset + header_bytes > len(data):
        return None
    header = data[offset : offset + header_bytes]
    (stored,) = struct.unpack_from("<I", header, header_bytes - 4)
    if crc32c(header[:-4]) != stored:
        return None
    items = []
    for number in range(count):
        item = struct.unpack_from(ITEM, header, 80 + 192 * number)
        items.append(
            {
                "id": item[0],
                "key": item[1],
                "parent": item[2],
                "version": (item[3], item[4]),
                "offset": offset + item[5] if not item[7] & NO_PAYLOAD else 0,
                "bytes": item[6],
                "flags": item[7],
                "checksum": item[8],
                "hints": item[9:13],
                "key_data": header[item[13] : item[13] + item[14]],
                "crcs": list(
                    struct.unpack_from("<%dI" % item[16], header, item[15])
                ),
                "seq": seq,
                "header_offset": offset,
                "header_crc": stored,
                "item": number,
            }
        )
    return {"seq": seq, "bytes": record_bytes, "kind": kind, "items": items}


def payload_is_good(data, item):
    payload = data[item["offset"] : item["offset"] + item["bytes"]]
    if item["flags"] & NO_PAYLOAD:
        return True
    return len(payload) == item["bytes"] and checksum(payload) == (
        item["checksum"],
        item["crcs"],
    )


def walk(data, head):
    offset = head["alignment"]
    last = 0
    entries = []
    while offset < len(data):
        record = read_record(data, offset, head)
        if record is None or record["seq"] <= last:
            offset += head["alignment"]
            continue
        last = record["seq"]
        entries += [i for i in record["items"] if payload_is_good(data, i)]
        offset += record["bytes"]
    return entries


def read_footer(data, head):
    """Entries from the footer, or None if the file has none."""
    if len(data) < 2 * head["alignment"]:
        return None
    tail = data[-256:]
    fields = struct.unpack(TRAILER, tail)
    if fields[0] != b"CSCDEND\n" or fields[-1] != crc32c(tail[:-4]):
        return None
    require(fields[1] == 1 and fields[2] == head["alignment"], "trailer")
    require(fields[3] == head["uuid"], "trailer of another file")
    require(fields[14] == len(data), "length of the file")
    require(
        fields[17:20] == (head["namespace"], head["number"], head["kind"]),
        "trailer and header differ",
    )
    index_offset, index_bytes, count = fields[4:7]
    index = data[index_offset : index_offset + index_bytes]
    require(index_bytes == 128 * count, "length of the index")
    require(crc32c(index) == fields[15], "checksum of the index")
    entries = [struct.unpack_from(ENTRY, index, 128 * i) for i in range(count)]
    require(fields[7] == len({entry[6] for entry in entries}), "number of records")
    return entries


def from_footer(data, head, entries):
    found = []
    for entry in entries:
        record = read_record(data, entry[12], head)
        require(record is not None, "header of an entry")
        item = record["items"][entry[11]]
        require(
            (entry[0], entry[1], entry[2:4]) == (item["id"], item["key"], item["version"]),
            "an entry differs from its item",
        )
        require(
            entry[4:10]
            == (
                item["offset"],
                item["bytes"],
                item["seq"],
                item["header_crc"],
                item["flags"],
                item["checksum"],
            ),
            "an entry differs from its item",
        )
        require(entry[10] == len(item["key_data"]), "length of a key")
        require(payload_is_good(data, item), "a payload")
        found.append(item)
    return found


def main():
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    head = read_file_header(data)
    footer = read_footer(data, head)
    print(
        "file kind %d number %d alignment %d uuid %s created %d.%d %s"
        % (
            head["kind"],
            head["number"],
            head["alignment"],
            head["uuid"].hex(),
            *head["created"],
            "sealed" if footer is not None else "unsealed",
        )
    )
    if head["kind"] == 2:
        print("subject %s %d %s" % (head["subject_uuid"].hex(), head["subject_bytes"], head["subject_path"]))
        for entry in footer:
            print("entry %s at %d bytes %d flags %d" % (entry[1].hex()[:16], entry[4], entry[5], entry[8]))
        return
    found = walk(data, head) if footer is None else from_footer(data, head, footer)
    for item in found:
        payload = data[item["offset"] : item["offset"] + item["bytes"]]
        print(
            "%s key %r version %d.%d flags %d id %s parent %s hints %d %d %d %.2f "
            "at %d bytes %d sha256 %s"
            % (
                "bind" if item["flags"] & NO_PAYLOAD else "block",
                item["key_data"].decode(),
                *item["version"],
                item["flags"],
                item["id"].hex()[:16],
                item["parent"].hex()[:16],
                *item["hints"],
                item["offset"],
                item["bytes"],
                hashlib.sha256(payload).hexdigest()[:16],
            )
        )


main()
