. "$SOW_ROOT/tests/cli/lib.sh"

# A small network on the synthetic task: a second or less.
train() {
    "$SOW" train --arch mlp:64-150-50-5 --data synthetic:relmlp --optimizer adam --lr 0.0012 --batch 60 --steps 120 --evaluate-every 40 --quiet "$@"
}

expect_ok 'a network is trained' train --seed 1 -o run
for file in final.safetensors curve.csv run.json; do expect_file "$file is there" run/$file; done
expect_true 'the curve has a line for each evaluation' [ "$(wc -l <run/curve.csv)" -eq 5 ]
expect_ok 'run.json is JSON' "$SOW" inspect run/run.json
expect_output '^format: run folder' 'inspect knows a run folder' "$SOW" inspect run
expect_message 1 'run exists already' 'an existing run is not overwritten' train --seed 1 -o run
expect_ok 'save by --force' train --seed 1 -o run --force

expect_ok 'the same command again' train --seed 1 -o again --threads 1
expect_same 'gives the same weights, whatever the threads' run/final.safetensors again/final.safetensors
expect_same 'and the same curve' run/curve.csv again/curve.csv
expect_ok 'another seed' train --seed 2 -o other
expect_differ 'gives other weights' run/final.safetensors other/final.safetensors

expect_ok 'a cell writes records and a state' train --seed 1 --records --out-state cell.safetensors
cp "$out" records
expect_same 'with the same weights' run/final.safetensors cell.safetensors
expect_output '^\{"step":120,"train_loss":[0-9.e-]+,"train_accuracy":[0-9.e-]+,"val_loss":[0-9.e-]+,"val_accuracy":[0-9.e-]+,"test_loss":[0-9.e-]+,"test_accuracy":[0-9.e-]+\}$' \
    'a record names step, losses, accuracies' cat records
expect_true 'and nothing else is printed' [ "$(grep -vc '^{"step":' records)" -eq 0 ]

expect_ok 'weights to rewind to are kept' train --seed 1 --save-step 40 --save-state step40.safetensors --out-state end.safetensors
expect_same 'which changes nothing at the end' run/final.safetensors end.safetensors
expect_ok 'step 0 is the start' train --seed 1 --save-step 0 --save-state step0.safetensors --out-state end.safetensors --force
expect_differ 'and another state' step0.safetensors step40.safetensors
expect_ok 'which trains' train --seed 1 --start step0.safetensors --out-state end.safetensors --force
expect_ok 'to the same weights' "$SOW" train --arch mlp:64-150-50-5 --data synthetic:relmlp --optimizer adam --lr 0.0012 --batch 60 --steps 40 --seed 1 --quiet --out-state short.safetensors
for file in short step40; do "$SOW" inspect $file.safetensors | grep -v '^path' | sed '/^passport/,$d' >$file.txt; done
expect_same 'as a training that ends at that step' short.txt step40.txt
expect_message 2 'save-step and --save-state belong together' 'a step without a file is refused' train --save-step 3 -o x
expect_message 2 'expected at most --steps 120' 'a step behind the end is refused' train --save-step 121 --save-state y.safetensors -o x

expect_ok 'checkpoints change nothing' train --seed 1 -o marked --checkpoint-every 50
expect_same 'in the weights' run/final.safetensors marked/final.safetensors
rm marked/final.safetensors marked/curve.csv
expect_ok 'a run is resumed' train --seed 1 -o marked --checkpoint-every 50 --resume
expect_same 'and ends with the same weights' run/final.safetensors marked/final.safetensors
expect_same 'and the same curve' run/curve.csv marked/curve.csv

mkdir stopped
env --default-signal=INT "$SOW" train --arch mlp:64-150-50-5 --data synthetic:relmlp --steps 100000000 -o stopped --resume >"$out" 2>"$err" &
child=$!
sleep 1
kill -INT $child 2>/dev/null
wait $child
status=$?
if [ $status -eq 130 ] && grep -q 'resume' "$err" && [ ! -e stopped/final.safetensors ] && [ -s stopped/checkpoint.safetensors ]; then pass 'Ctrl-C ends with a checkpoint and says how to go on'
else fail 'Ctrl-C ends with a checkpoint and says how to go on' "exit status $status"; fi

expect_message 2 'missing -o' 'an output is required' train --seed 1
expect_message 2 '\-\-nesterov needs --momentum' 'nesterov needs momentum' "$SOW" train --arch mlp:64-8-5 --data synthetic:relmlp --steps 1 --nesterov -o x
expect_message 2 '\-\-momentum belongs to --optimizer sgd or sgdm or sgd-sai, not to adam' 'momentum is of sgd' train --momentum 0.9 -o x
expect_message 2 "\-\-augment: found 'flop'" 'a wrong augmentation is shown' train --augment flop -o x
expect_message 2 'did you mean|expected' 'a wrong schedule is shown' train --schedule multstep:3 -o x
expect_message 1 'which is not what --input and --classes ask for' 'data of another shape is refused' train --classes 7 -o x
expect_fail 'a network for other data is refused' "$SOW" train --arch lenet300 --data synthetic:relmlp --steps 1 -o x
expect_fail 'missing data is refused' train --data nowhere/at/all -o x
expect_fail 'a start of another network is refused' "$SOW" train --arch mlp:64-8-5 --data synthetic:relmlp --steps 1 --start run/final.safetensors -o x
expect_message 2 'exclude each other' 'a start and a scheme exclude each other' train --start run/final.safetensors --scheme normal -o x
expect_fail 'a mask that is none is refused' train --start run/final.safetensors --mask run/final.safetensors -o x
expect_absent 'nothing is left of refused trainings' x/final.safetensors
expect_message 1 'loss is' 'a loss that is not finite ends the training' "$SOW" train --arch mlp:64-150-50-5 --data synthetic:relmlp --steps 200 --lr 1e6 --records --out-state y.safetensors
cp "$out" records
expect_output '"train_loss":NaN' 'and is recorded' cat records
expect_absent 'and writes no weights' y.safetensors
