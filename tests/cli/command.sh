. "$SOW_ROOT/tests/cli/lib.sh"

# json NAME COMMAND...: exit status 0, and stdout is one JSON value.
json() {
    name=$1
    shift
    run "$@"
    cp "$out" out.json
    [ "$status" -eq 0 ] || { fail "$name" "exit status $status: $*"; return; }
    expect_ok "$name" "$SOW" inspect out.json
}

expect_output '^usage: sow COMMAND' 'sow alone shows the commands' "$SOW"
expect_output '^usage: sow COMMAND' 'sow --help shows the commands' "$SOW" --help
expect_output '^instruction set: [a-z0-9_]+$' 'sow --version names the instruction set' "$SOW" --version
expect_output '^oneDNN [0-9]+\.[0-9]+' 'sow --version names the libraries' "$SOW" --version

for command in $("$SOW" list --json | sed -n 's/^ *"name": "\(.*\)",*$/\1/p'); do
    expect_output "^usage: sow $command" "$command --help shows its usage" "$SOW" "$command" --help
    expect_output "^usage: sow $command" "help $command shows its usage" "$SOW" help "$command"
    expect_message 2 "^sow $command.*: unknown option --zzzz" "$command refuses an unknown option" "$SOW" "$command" --zzzz
done

expect_message 2 "^sow: no command 'lisst'; did you mean list\?$" 'a wrong command gets the nearest right one' "$SOW" lisst
expect_message 2 '^sow list: unknown option --jsn; did you mean --json\?$' 'a wrong option gets the nearest right one' "$SOW" list --jsn
expect_message 2 '^sow train: missing --arch, ' 'a missing option is named' "$SOW" train --data x --steps 1 -o run
expect_message 2 "^sow train: --steps: found 'many', expected an integer from 1 to 1" 'a wrong number is shown' "$SOW" train --steps many
expect_message 2 'expected one of sgd, adam, adamw, sgdm, sgd-sai; did you mean adam\?' 'a wrong choice gets the nearest right one' "$SOW" train --optimizer adma
expect_message 2 '^sow train: --seed is given twice$' 'an option is not given twice' "$SOW" train --seed 1 --seed 2
expect_message 2 "^sow inspect: unexpected argument 'b'" 'arguments too many are refused' "$SOW" inspect a b
expect_message 2 "^sow list: --threads: found '-1'" 'threads are checked' "$SOW" list --threads -1
expect_message 1 '^sow inspect: nowhere: no such file' 'a missing file is a failure, not a wrong command' "$SOW" inspect nowhere

json 'list --json is JSON' "$SOW" list --json
json 'list --arch --json is JSON' "$SOW" list --arch conv2 --json
json 'study --json is JSON' "$SOW" study --json
json 'fetch --json is JSON' "$SOW" fetch --json
expect_message 2 "no study 'lotery-ticket'; did you mean lottery-ticket" 'a wrong study gets the nearest right one' "$SOW" study lotery-ticket
mkdir study-lottery-ticket-smoke
expect_message 1 'exists already; --resume goes on with it' 'an existing study is not begun again' "$SOW" study lottery-ticket --scale smoke
expect_message 2 "\-\-seeds: found '5:1'" 'wrong seeds are shown' "$SOW" study lottery-ticket --scale smoke --seeds 5:1 -o x
run "$SOW" inspect nowhere --json
cp "$out" out.json
expect_output '"status": "not-found"' 'a failure under --json is JSON too' cat out.json
expect_ok 'and can be read' "$SOW" inspect out.json
run "$SOW" train --json --stps 3
cp "$out" out.json
expect_output '"message": "unknown option --stps; did you mean --steps\?"' 'a wrong command under --json is JSON too' cat out.json

expect_output '^fc1.weight +F32 +\[300, 784\] +235200 +weight +fc' 'list --arch shows names, shapes, counts, groups' "$SOW" list --arch lenet300
expect_output '^weights: 266200$' 'list --arch counts weights' "$SOW" list --arch lenet300
expect_output '^input: 3x32x32$' 'list --arch takes --input' "$SOW" list --arch resnet20 --input 3x32x32 --classes 10
expect_message 2 "^sow list: --input: found '3x32'" 'a wrong --input is shown' "$SOW" list --arch resnet20 --input 3x32
expect_message 2 "did you mean lenet300" 'a wrong architecture gets the nearest right one' "$SOW" list --arch lenet30
expect_output '^resnet20 ' 'list --arch all shows the architectures' "$SOW" list --arch all

"$SOW" list --json >/dev/full 2>"$err"
status=$?
if [ $status -eq 1 ] && grep -q 'standard output' "$err"; then pass 'a full disk behind stdout is reported'; else fail 'a full disk behind stdout is reported' "exit status $status"; fi

# A worker of OpenBLAS that gets no memory asks for ever, and the program would wait for it at its end.
hung=
for kilobytes in 160000 170000 180000 190000 200000 220000 250000 300000 400000; do
    (ulimit -v $kilobytes; unset OPENBLAS_NUM_THREADS; timeout -k 1 60 "$SOW" list) >"$out" 2>"$err"
    case $? in 124 | 137) hung="$hung $kilobytes" ;; esac
done
if [ -z "$hung" ]; then pass 'short memory never makes the command hang'; else fail 'short memory never makes the command hang' "KiB:$hung"; fi
