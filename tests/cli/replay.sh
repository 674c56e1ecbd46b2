. "$SOW_ROOT/tests/cli/lib.sh"

train() {
    "$SOW" train --arch mlp:64-20-5 --data synthetic:relmlp --batch 60 --steps 60 --quiet "$@"
}
# edit SED FILE COPY: changes the header, keeping its length.
edit() {
    LC_ALL=C sed "$1" "$2" >"$3"
}

train --seed 3 -o run >/dev/null
expect_output '^same bits: yes$' 'a trained state is made again bit for bit' "$SOW" replay run/final.safetensors
expect_output '"same_bits": true' 'and says so in JSON' "$SOW" replay run/final.safetensors --json --threads 1
cp run/final.safetensors moved.safetensors
expect_output '^same bits: yes$' 'whatever it is called now' "$SOW" replay moved.safetensors
expect_ok 'what was made again can be kept' "$SOW" replay moved.safetensors -o kept
expect_same 'and is the same file' kept/final.safetensors run/final.safetensors
expect_message 1 'kept exists already' 'but overwrites nothing' "$SOW" replay moved.safetensors -o kept

size=$(wc -c <run/final.safetensors)
cp run/final.safetensors changed.safetensors
printf '\000\000\000\077' | dd of=changed.safetensors bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
expect_message 1 'made again it differs in 1 values of 1 tensors' 'a changed weight is found' "$SOW" replay changed.safetensors

isa=$("$SOW" --version | sed -n 's/^instruction set: //p')
other=$(echo "$isa" | sed 's/./z/g')
edit "s/isa\\\\\":\\\\\"$isa/isa\\\\\":\\\\\"$other/" run/final.safetensors foreign.safetensors
expect_differ 'a file of another instruction set' run/final.safetensors foreign.safetensors
expect_output '^same bits: yes$' 'may have the same bits' "$SOW" replay foreign.safetensors
printf '\001' | dd of=foreign.safetensors bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
expect_output '^same bits: no$' 'or others within the tolerance' "$SOW" replay foreign.safetensors
cp "$err" said
expect_output 'compared on .* with a tolerance of' 'which is said' cat said
printf '\000\000\000\077' | dd of=foreign.safetensors bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
expect_message 1 "made on $other; made again on $isa it differs" 'but not outside' "$SOW" replay foreign.safetensors

mkdir starts
cp run/final.safetensors starts/theta.safetensors
train --seed 4 --start starts/theta.safetensors -o second >/dev/null
expect_message 1 'its input theta.safetensors was not found beside it; add --input start=PATH' 'a missing input is named' "$SOW" replay second/final.safetensors
expect_output '^same bits: yes$' 'and can be given' "$SOW" replay second/final.safetensors --input start=starts/theta.safetensors
cp starts/theta.safetensors second/
expect_output '^same bits: yes$' 'or lie beside the file' "$SOW" replay second/final.safetensors
cp changed.safetensors second/theta.safetensors
expect_message 1 'is not the theta.safetensors it was made from' 'another input is not taken' "$SOW" replay second/final.safetensors
expect_message 1 'has SHA-256' 'not even when given' "$SOW" replay second/final.safetensors --input start=second/theta.safetensors

edit 's/mlp:64-20-5/mlp:64-20-6/' run/final.safetensors hostile.safetensors
expect_fail 'a passport of another network fails' "$SOW" replay hostile.safetensors
edit 's/\\"seed\\"/\\"out_\\"/' run/final.safetensors hostile.safetensors
expect_message 1 'has an option out_ that' 'an unknown option in a passport is refused' "$SOW" replay hostile.safetensors
edit 's/\\"limit\\":0/\\"force\\":1/' run/final.safetensors hostile.safetensors
expect_message 1 'has an option force that' 'a passport cannot set --force' "$SOW" replay hostile.safetensors
edit 's/final.safetensors/..\/al.safetensors/' run/final.safetensors hostile.safetensors
expect_message 1 "names the file '../al.safetensors'" 'a passport cannot lead out of the folder' "$SOW" replay hostile.safetensors
edit 's/\\"method\\":\\"train/\\"method\\":\\"trein/' run/final.safetensors hostile.safetensors
expect_message 1 "made by 'trein train', which this version of sow does not have" 'an unknown method is named' "$SOW" replay hostile.safetensors
edit 's/\\"action/\\"ac\\"on/' run/final.safetensors hostile.safetensors
expect_fail 'a passport that is no JSON is refused' "$SOW" replay hostile.safetensors
expect_message 1 'no such file|No such file' 'a missing file is named' "$SOW" replay nowhere.safetensors
expect_true 'no temporary folder is left' [ -z "$(ls -d "$TMPDIR"/sow-replay.* 2>/dev/null)" ]

expect_ok 'a classic start' "$SOW" classic --arch mlp:64-20-5 --scheme orthogonal --seed 7 -o start.safetensors
expect_output '^same bits: yes$' 'is made again bit for bit' "$SOW" replay start.safetensors
expect_ok 'layers of a checkpoint made anew' "$SOW" classic --like start.safetensors --scheme kaiming-normal --rule 'fc1.*=keep' -o layers.safetensors
expect_output '^same bits: yes$' 'are made again from the checkpoint beside them' "$SOW" replay layers.safetensors
rm start.safetensors
expect_message 1 'its input start.safetensors was not found' 'but not without it' "$SOW" replay layers.safetensors

expect_ok 'a ticket' "$SOW" lottery-ticket find --arch mlp:64-20-5 --data synthetic:relmlp --steps 60 --rounds 1 --quiet -o ticket
for file in ticket ticket.mask mask_01 theta0; do
    expect_output '^same bits: yes$' "$file is made again bit for bit" "$SOW" replay ticket/$file.safetensors
done

trainer='cp {init} {out}; touch ran; echo "{{\"step\":1,\"val_loss\":1,\"test_accuracy\":0.5}}"'
expect_ok 'a ticket by another trainer' "$SOW" lottery-ticket find --train "$trainer" --start run/final.safetensors --rate 0.2 --rounds 1 --quiet -o foreign
cp run/final.safetensors foreign/
find . -name ran -exec rm -f {} +
expect_message 2 'was trained by another program: cp {init} {out}; touch ran' 'replay shows its command' "$SOW" replay foreign/ticket.safetensors
expect_true 'and does not run it' [ -z "$(find . -name ran)" ]
expect_output '^same bits: yes$' 'unless it is given' "$SOW" replay foreign/ticket.safetensors --train "$trainer"
