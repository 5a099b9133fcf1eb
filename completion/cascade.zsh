#compdef cascade
# SPDX-License-Identifier: Apache-2.0
#
# Completion of `cascade` for zsh. Commands and options are asked of the
# program itself, so this file does not name them.

local command=${words[2]}

if (( CURRENT == 2 )); then
    compadd -- ${(f)"$(${words[1]} --commands 2>/dev/null)"} help
elif [[ $command == help ]]; then
    compadd -- ${(f)"$(${words[1]} --commands 2>/dev/null)"}
elif [[ $PREFIX == -* ]]; then
    compadd -- ${(f)"$(${words[1]} $command --help 2>/dev/null |
        grep -oE -- '--[a-z][a-z-]*')"}
elif [[ $command == segment && CURRENT -eq 3 ]]; then
    compadd list verify dump
else
    _files
fi
