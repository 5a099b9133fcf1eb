# SPDX-License-Identifier: Apache-2.0
#
# Completion of `cascade` for bash. Commands and options are asked of the
# program itself, so this file does not name them.

_cascade()
{
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    local program=${COMP_WORDS[0]} command=${COMP_WORDS[1]} names

    if ((COMP_CWORD == 1)); then
        names="$("$program" --commands 2>/dev/null) help --help --version"
        mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
        return
    fi
    if [[ $command == help ]]; then
        names=$("$program" --commands 2>/dev/null)
        mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
        return
    fi
    if [[ $word == -* ]]; then
        names=$("$program" "$command" --help 2>/dev/null |
            grep -oE -- '--[a-z][a-z-]*')
        mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
        return
    fi
    case $command:$previous in
    *:--option | *:-o | config:*)
        names=$("$program" config 2>/dev/null |
            sed -n 's/^#\{0,1\}\([a-z_]*\) = .*/\1/p')
        mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
        return
        ;;
    segment:segment)
        mapfile -t COMPREPLY < <(compgen -W 'list verify dump' -- "$word")
        return
        ;;
    gc:--kind | gc:-k)
        mapfile -t COMPREPLY < <(compgen -W 'namespace writer litter empty' \
            -- "$word")
        return
        ;;
    *:--store | *:-s | doctor:* | gc:*)
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        compopt -o filenames
        return
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
    compopt -o filenames
}

complete -F _cascade cascade
