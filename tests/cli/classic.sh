# sow classic: networks, layers of a checkpoint, rules, streams, refusals.
. "$SOW_ROOT/tests/cli/lib.sh"

# ---- networks ----
expect_output 'fc1\.weight +\[300, 784\] +F32 +kaiming-uniform +[-0-9.e]+ +0\.050' 'a network is filled by one scheme, and the table shows what came out' \
    "$SOW" classic --arch lenet300 --scheme kaiming-uniform --seed 7 -o a.safetensors
expect_ok 'the same seed gives the same start' "$SOW" classic --arch lenet300 --scheme kaiming-uniform --seed 7 -o b.safetensors
expect_same 'byte for byte' a.safetensors b.safetensors
for threads in 2 4; do
    expect_ok "with $threads threads" "$SOW" classic --arch lenet300 --scheme kaiming-uniform --seed 7 --threads $threads -o b.safetensors --force
    expect_same "$threads threads: the same bytes" a.safetensors b.safetensors
done
expect_ok 'another seed' "$SOW" classic --arch lenet300 --scheme kaiming-uniform --seed 8 -o b.safetensors --force
expect_differ 'gives another start' a.safetensors b.safetensors
expect_output 'same bits: yes' 'a start is made again from its passport' "$SOW" replay a.safetensors
expect_ok 'a convolutional network on other images' "$SOW" classic --arch resnet20 --input 1x28x28 --classes 7 --scheme kaiming-normal --mode fan_out -o r.safetensors --json
expect_true 'its 128 tensors are all in the JSON' [ "$(grep -o '"tensor":' "$out" | wc -l)" -eq 128 ]
expect_output 'kaiming-normal:mode=fan_out +22 ' 'people see a line a scheme' "$SOW" classic --arch resnet20 --scheme kaiming-normal --mode fan_out -o r.safetensors --force

# ---- layers of a checkpoint ----
expect_output '^kept: 4' 're-initialising a layer is one line' "$SOW" classic --like a.safetensors --only 'fc3.*' --seed 1 -o c.safetensors
expect_output 'same bits: yes' 'and can be made again' "$SOW" replay c.safetensors
expect_output 'fc1\.weight.*keep' 'rules alone keep the rest' "$SOW" classic --like a.safetensors --rule 'fc2.weight=orthogonal:gain=1.4142' --rule '.*bias=constant:value=0.1' -o d.safetensors
expect_output 'fc2\.weight.*orthogonal:gain=1.4142' 'each rule has parameters of its own' "$SOW" classic --like a.safetensors --rule 'fc2.weight=orthogonal:gain=1.4142' --rule '.*bias=constant:value=0.1' -o d.safetensors --force
expect_output 'fc1\.weight.*keep' 'a rule may keep' "$SOW" classic --like a.safetensors --scheme normal --sd 0.02 --rule 'fc1.*=keep' -o d.safetensors --force
expect_output 'fc2\.weight.*normal:sd=0.02' 'while the scheme takes the rest' "$SOW" classic --like a.safetensors --scheme normal --sd 0.02 --rule 'fc1.*=keep' -o d.safetensors --force
expect_output 'fc3\.weight.*ones' 'patterns may hold = and :' "$SOW" classic --like a.safetensors --rule 'fc[3=[:digit:]].weight=ones' -o d.safetensors --force

# ---- streams of PyTorch and NumPy ----
# numbers FILE: its tensors with their statistics, as far as they are kept.
numbers() {
    run "$SOW" inspect "$1" --json
    grep -E '"(mean|sd|min|max|counts)":' "$out" >"$2"
}
for rng in numpy pcg64 torch-cpu; do
    run "$SOW" classic --arch lenet300 --rng $rng --seed 3 -o model-$rng.safetensors
    run "$SOW" classic --like a.safetensors --rng $rng --seed 3 -o like-$rng.safetensors
    numbers model-$rng.safetensors model.txt
    numbers like-$rng.safetensors like.txt
    expect_file "$rng: there are numbers" model.txt
    expect_same "$rng: those of the network that it came from" model.txt like.txt
done
printf 'fc3.bias\nfc1.weight\n' >order.txt
expect_ok 'another order of draws' "$SOW" classic --like a.safetensors --rng torch-cpu --seed 3 --order order.txt -o ordered.safetensors
numbers ordered.safetensors like.txt
expect_differ 'gives other numbers' model.txt like.txt
expect_output 'same bits: yes' 'and is in the passport' "$SOW" replay ordered.safetensors

# ---- refusals: one line, the nearest remedy, nothing written ----
refuse() { # STATUS MESSAGE NAME OPTIONS...
    wanted=$1 message=$2 name=$3
    shift 3
    expect_message "$wanted" "$message" "$name" "$SOW" classic "$@" -o never.safetensors
}
refuse 2 'missing --arch' 'neither network nor file'
refuse 2 'exclude each other' 'both' --arch lenet300 --like a.safetensors
refuse 2 'did you mean kaiming-uniform' 'a scheme mistyped' --arch lenet300 --scheme kaimng-uniform
refuse 2 'normal has no parameter .gain.; it has mean, sd' 'a parameter of another scheme' --arch lenet300 --scheme normal --gain 2
refuse 2 'expected a number' 'a parameter that is not finite' --arch lenet300 --scheme normal --sd nan
refuse 2 'expected a finite number' 'not in a rule either' --arch lenet300 --rule 'fc1.*=normal:sd=inf'
refuse 2 "write 'fc1\.\*'" 'a rule that matches parts of names only' --like a.safetensors --rule 'fc1=zeros'
refuse 2 'did you mean fc1.weight' 'a rule that matches nothing' --like a.safetensors --rule 'fc1.wieght=zeros'
refuse 2 'such as fc1.bias and fc3.weight' 'a rule far from every name' --like a.safetensors --only 'decoder.*'
refuse 2 'expected REGEX=SCHEME' 'a rule without a scheme' --like a.safetensors --rule 'fc1.*'
refuse 2 'no extended regular expression' 'a broken pattern' --like a.safetensors --rule 'fc(=zeros'
refuse 1 "'fc1.weight' is \[300, 784\], expected a convolution's weight of 3 to 5 dimensions; take eye" 'a scheme that does not fit' --like a.safetensors --scheme dirac
refuse 1 'no sparsity given' 'sparse without its fraction' --arch lenet300 --scheme sparse
refuse 2 'needs --arch and --data' 'LSUV without data' --arch lenet300 --scheme lsuv
refuse 2 'belongs to --scheme lsuv' 'options of LSUV without it' --arch lenet300 --batch 3
refuse 2 'nothing to keep' 'keeping the rest of nothing' --arch lenet300 --only 'fc1.*'
refuse 2 '3x32x32' 'a wrong input' --arch conv2 --input 3x32
refuse 2 'depend on names alone' 'an order that does nothing' --like a.safetensors --order order.txt
echo 'fc9.weight' >wrong.txt
refuse 1 "no tensor 'fc9.weight'" 'an order with unknown names' --like a.safetensors --rng numpy --order wrong.txt
refuse 1 'missing.safetensors' 'no such file' --like missing.safetensors
head -c 1000 a.safetensors >cut.safetensors
refuse 1 'cut.safetensors' 'a truncated file' --like cut.safetensors
expect_absent 'none of them wrote anything' never.safetensors
expect_message 1 'exists' 'an existing file is not overwritten' "$SOW" classic --arch lenet300 -o a.safetensors

# ---- LSUV ----
expect_output '^fc3 +0\.[0-9]+ +(1|0\.9|1\.0)' 'LSUV brings each output to unit variance' \
    "$SOW" classic --arch mlp:64-150-50-5 --data synthetic:relmlp --scheme lsuv --tolerance 0.01 -o lsuv.safetensors
