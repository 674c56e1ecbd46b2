. "$SOW_ROOT/tests/cli/lib.sh"

# safetensors NAME HEADER DATA: writes a file with this header and data (printf format).
safetensors() {
    length=$(printf %s "$2" | wc -c)
    {
        printf "\\$(printf %o $((length % 256)))\\$(printf %o $((length / 256)))\\0\\0\\0\\0\\0\\0"
        printf %s "$2"
        printf "$3"
    } >"$1"
}

# 1, -1, 0, NaN as f32
safetensors a.safetensors '{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"__metadata__":{"sow":"{\"method\":\"x\"}"}}' \
    '\000\000\200\077\000\000\200\277\000\000\000\000\000\000\300\177'
expect_output '^w +F32 +\[2, 2\] +1 +1 +0 +1 +-1 +1 ' 'inspect shows zeros, non-finite values, mean, sd, least and largest' "$SOW" inspect a.safetensors
expect_output '^  nonfinite: 1$' 'and counts non-finite values' "$SOW" inspect a.safetensors
expect_output '^  method: x$' 'and the passport' "$SOW" inspect a.safetensors
expect_output '"counts": \[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1\]' 'and a histogram' "$SOW" inspect a.safetensors --json
safetensors a.mask.safetensors '{"w":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}' '\001\000\001\000'
expect_output '^density: 0.5$' 'and the density of the mask beside it' "$SOW" inspect a.safetensors
expect_message 0 '2 values are not zero though the mask drops them' 'and values that the mask should have dropped' "$SOW" inspect a.safetensors
safetensors a.mask.safetensors '{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}' '\001\000\001\000'
expect_message 1 'w: its mask has another shape' 'a mask of another shape is refused' "$SOW" inspect a.safetensors

safetensors escape.safetensors '{"\u001b[31mred":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}' '\001'
expect_output '^\\x1b\[31mred' 'names cannot steer the terminal' "$SOW" inspect escape.safetensors

printf 'a,b\n1,x\n3,y\n' >table.csv
: >empty.safetensors
head -c 20 a.safetensors >short.safetensors
head -c 100 /dev/urandom >noise.safetensors
printf '\377\377\377\377\377\377\377\177{}' >huge.safetensors
safetensors lying.safetensors '{"w":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}' '\000'
{ printf '\037\213' && head -c 50 /dev/urandom; } >a.gz
printf '\211PNG\r\n\032\nxxxx' >a.png
printf '\377\330\377\340xxxx' >a.jpg
printf '\223NUMPY\001\000\377\377' >a.npy
printf '{"a":' >open.json
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "[" }' >deep.json
printf 'SQLite format 3\000' >empty.db
mkdir empty
for file in empty.safetensors short.safetensors noise.safetensors huge.safetensors lying.safetensors a.gz a.png a.jpg a.npy open.json deep.json empty.db; do
    expect_message 1 "^sow inspect: .*$file" "$file is refused by name" "$SOW" inspect $file
done
mkfifo pipe.safetensors
expect_message 1 'pipe.safetensors: not a regular file' 'a pipe is refused, not waited for' timeout 20 "$SOW" inspect pipe.safetensors
expect_message 1 'pipe.safetensors' 'by replay too' timeout 20 "$SOW" replay pipe.safetensors
expect_output '^contents: none$' 'an empty folder is empty' "$SOW" inspect empty
expect_output '^a +number +\[2\] +0 +0 +2 +1.414 +1 +3' 'columns of numbers have moments' "$SOW" inspect table.csv
expect_output '^b +text +\[2\]' 'columns of words have none' "$SOW" inspect table.csv

"$SOW" lottery-ticket find --arch mlp:64-8-5 --data synthetic:relmlp --steps 20 --rounds 1 --quiet -o ticket >/dev/null
expect_output '^format: ticket folder$' 'inspect knows a ticket' "$SOW" inspect ticket
expect_output '^ +1 +[0-9]+ ' 'and shows its rounds' "$SOW" inspect ticket
expect_output '^round-01 +done +1 ' 'and the cells of its store' "$SOW" inspect ticket/sow.db
cp ticket/sow.db sow.db
head -c 3000 sow.db >half.db
expect_message 1 'half.db: no store of sow' 'half a store is refused' "$SOW" inspect half.db
