# bash completion for incident
_incident() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}
    local options="--sysroot --debug-dir --allow-mismatch --debuginfod --max-spool --jobs --trace --format --output --json --lang --color --progress --all --min-severity --only --skip --help"
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "analyze crash goroutines goroutine threads thread locks heap maps locate read serve signature triage merge doctor collect explain --help --version" -- "$cur"))
        return
    fi
    case $prev in
        --format) COMPREPLY=($(compgen -W "terminal json markdown html sarif" -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
        --progress) COMPREPLY=($(compgen -W "auto never" -- "$cur")); return ;;
        --lang) COMPREPLY=($(compgen -W "en" -- "$cur")); return ;;
        --min-severity) COMPREPLY=($(compgen -W "info warning error" -- "$cur")); return ;;
        --only|--skip) COMPREPLY=($(compgen -W "$(incident explain 2>/dev/null | awk '$1 ~ /\./ {print $1}')" -- "$cur")); return ;;
        --sysroot|--debug-dir|--dir|--root) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        --jobs|--max-spool|--shard|--timeout|--memory|--pid|--max-core|--max-total|--min-free|--time-limit) return ;;
    esac
    local many="--baseline --runbook --by-program --exact --store"
    case $command in
        triage) options+=" $many --resume --retry --shard --timeout --memory --analyzer" ;;
        merge) options="$many --format --output --json --lang --color --progress --help" ;;
        doctor) options="--pid --root --format --output --json --lang --color --progress --help" ;;
        collect) options="--dir --max-core --max-total --min-free --time-limit --help" ;;
        *) options+=" --runbook" ;;
    esac
    if [[ $command == explain ]]; then
        COMPREPLY=($(compgen -W "$(incident explain 2>/dev/null | awk '$1 ~ /\./ {print $1}') --color --help" -- "$cur"))
        return
    fi
    [[ $command == locks ]] && options+=" --held"
    [[ $command == maps ]] && options+=" --summary"
    [[ $command == goroutines ]] && options+=" --stacks --group"
    [[ $command == heap ]] && options+=" --retained --roots --object --pprof"
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
    else
        COMPREPLY=($(compgen -f -- "$cur"))
    fi
}
complete -o filenames -F _incident incident
