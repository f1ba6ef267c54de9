# bash completion for incident
_incident() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "analyze crash goroutines goroutine threads thread locks heap maps locate read serve signature triage merge doctor collect explain --help --version" -- "$cur"))
        return
    fi
    local formats="terminal json markdown html sarif"
    case $command in
        signature|triage|merge|doctor) formats="terminal json markdown" ;;
    esac
    case $prev in
        --format) COMPREPLY=($(compgen -W "$formats" -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
        --progress) COMPREPLY=($(compgen -W "auto never" -- "$cur")); return ;;
        --lang) COMPREPLY=($(compgen -W "en" -- "$cur")); return ;;
        --min-severity) COMPREPLY=($(compgen -W "info warning error" -- "$cur")); return ;;
        --only|--skip) COMPREPLY=($(compgen -W "$(incident explain 2>/dev/null | awk '$1 ~ /\./ {print $1}')" -- "$cur")); return ;;
        --sysroot|--debug-dir|--dir|--root) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        --jobs|--max-spool|--shard|--timeout|--memory|--pid|--max-core|--max-total|--min-free|--time-limit|--roots|--object) return ;;
    esac
    local input="--sysroot --debug-dir --allow-mismatch --debuginfod --max-spool --jobs" output="--format --output --json --lang --color --progress"
    local findings="--min-severity --only --skip" clusters="--store --baseline --by-program --exact --runbook" options
    case $command in
        analyze|crash) options="$input --trace $output --all $findings --runbook" ;;
        signature) options="$input --trace $output $findings" ;;
        serve) options="$input --trace" ;;
        triage) options="$clusters --resume --retry --shard --timeout --memory --analyzer $input $output $findings" ;;
        merge) options="$clusters $output" ;;
        doctor) options="--pid --root $output" ;;
        collect) options="--dir --max-core --max-total --min-free --time-limit" ;;
        explain) options="--color" ;;
        *) options="$input --trace $output --all" ;;
    esac
    case $command in
        locks) options+=" --held" ;;
        maps) options+=" --summary" ;;
        goroutines) options+=" --stacks --group" ;;
        heap) options+=" --retained --roots --object --pprof" ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options --help" -- "$cur"))
    elif [[ $command == explain ]]; then
        COMPREPLY=($(compgen -W "$(incident explain 2>/dev/null | awk '$1 ~ /\./ {print $1}')" -- "$cur"))
    else
        COMPREPLY=($(compgen -f -- "$cur"))
    fi
}
complete -o filenames -F _incident incident
