# Keeps one program: runs it until it ends by itself or until told to end it on standard input.
# A line `stop` asks it to end, a line `kill` forces it; end of input asks it to end.
# So whoever holds the other end of the pipe needs no right to signal the program (which may run
# under sudo), and the program ends even when its starter is killed.
trap '' INT HUP
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM
(
    trap - TERM
    while read -r word; do
        case $word in
        stop) kill -TERM "$child" ;;
        kill) kill -KILL "$child" ;;
        esac
    done
    kill -TERM "$child"
) <&3 >/dev/null 2>&1 3<&- &
watcher=$!
exec 3<&-
wait "$child"
status=$?
# A signal to this shell ends `wait` before the program has ended.
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    status=$?
done
kill "$watcher" 2>/dev/null
exit "$status"
