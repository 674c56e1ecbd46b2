. "$SOW_ROOT/tests/cli/lib.sh"

printf 'Hello, world!\nThe capital of France is\n' >two.txt
printf '{"text":"Hello, world!"}\n\n{"text":"The capital of France is"}\n' >two.jsonl

expect_message 1 'nope: no such model' 'a model that is not there' "$SOW" lm score --model nope --data two.txt
expect_message 2 'give either --data or --prompt or --choices' 'neither data nor prompt' "$SOW" lm score --model nope
mkdir -p empty broken
expect_message 1 'no config.json and no GGUF file' 'an empty folder' "$SOW" lm score --model empty --data two.txt
echo '{"model_type":"mamba"}' >broken/config.json
expect_message 1 'found mamba, expected llama' 'another kind of model' "$SOW" lm score --model broken --data two.txt
printf 'GGUF' >broken.gguf
expect_message 1 'broken.gguf' 'a GGUF file cut short' "$SOW" lm score --model broken.gguf --data two.txt

mkdir -p several
printf 'GGUF' >several/a.gguf
printf 'GGUF' >several/b.gguf
expect_message 2 'several holds several GGUF files' 'a folder of two models' "$SOW" lm generate --model several -p a
expect_message 2 'several holds several GGUF files' 'and of two tokenizers' "$SOW" lm tokenize --model minilm --tokenizer several --data two.txt

if "$SOW" lm tokenize --model smollm2 --data two.txt >/dev/null 2>&1; then
    expect_output '^504 3575 282 4649 314$' 'ids of lines' "$SOW" lm tokenize --model smollm2 --data two.txt
    expect_output '^[{]"ids":\[19556,28,905,17\][}]$' 'ids of JSON lines' "$SOW" lm tokenize --model smollm2 --data two.jsonl --json
    "$SOW" lm tokenize --model smollm2 --data two.txt --json >ids.jsonl
    "$SOW" lm tokenize --model smollm2 --decode --data ids.jsonl >back.txt
    expect_same 'and back' two.txt back.txt
    "$SOW" lm score --model smollm2 --prompt 'The capital of France is' --top 2 --json >top.json 2>/dev/null
    expect_true 'the likeliest next token' grep -q '\[7042, 17.371' top.json
    "$SOW" lm score --model smollm2 --data two.txt --per-line --json >score.json 2>/dev/null
    expect_true 'a loss for each line' test "$(grep -c '"loss"' score.json)" = 3
    expect_output '^ Paris[.]$' 'a prompt goes on' "$SOW" lm generate --model smollm2 -p 'The capital of France is' --max-tokens 3
    expect_output '^The answer to this classic math problem is 4[.]$' 'a chat is answered' "$SOW" lm generate --model smollm2 --chat -p 'What is 2 + 2?'
    printf 'What is 2 + 2?' >question.txt
    "$SOW" lm generate --model smollm2 --chat -p - <question.txt >answer.txt 2>/dev/null
    expect_true 'a question from standard input' grep -q 'problem is 4[.]' answer.txt
    expect_output '"stop": "stop string"' 'a stop string ends it' "$SOW" lm generate --model smollm2 -p 'The capital of France is' --stop answer --json
    expect_message 1 'the prompt has 0 tokens' 'nothing to go on from' "$SOW" lm generate --model smollm2 -p ''
    expect_message 2 'temperature' 'a temperature below 0' "$SOW" lm generate --model smollm2 -p a --temperature -1
    expect_message 1 'nowhere: no such folder' 'an adapter that is not there' "$SOW" lm generate --model smollm2 -p a --adapter nowhere
    for name in 1.a 1.b 2.a; do "$SOW" lm generate --model smollm2 -p 'Once upon a time' --max-tokens 8 --temperature 1 --seed ${name%.?} >sampled.$name 2>/dev/null; done
    expect_same 'the same seed, the same text' sampled.1.a sampled.1.b
    expect_differ 'another seed, another text' sampled.1.a sampled.2.a
    echo '{"question":"The capital of France is","choices":["Berlin","Paris","Rome"],"answer":1}' >questions.jsonl
    echo '{"prompt":"Two plus two equals ","choices":["a blue elephant","four"],"answer":0}' >>questions.jsonl
    expect_output 'sum +1 +0.5 +0.0945' 'one of two answers is right' "$SOW" lm score --model smollm2 --choices questions.jsonl
    "$SOW" lm score --model smollm2 --choices questions.jsonl --per-line --json >answers.json 2>/dev/null
    "$SOW" lm score --model smollm2 --prompt 'The capital of France is' --top 1 --json >next.json 2>/dev/null
    expect_true 'an answer of one token costs logsumexp less its logit' python3 -c '
import json
answers, next = json.load(open("answers.json")), json.load(open("next.json"))
line, other = answers["lines"]
assert next["top"][0][0] == 7042 and line["tokens"] == [1, 1, 1] and line["bytes"] == [6, 5, 4], line
assert abs(line["nll"][1] - (next["logsumexp"] - next["top"][0][1])) < 1e-4, line
assert line["by_sum"] == line["by_token"] == line["by_byte"] == 1 and other["by_sum"] == 1, other'
    echo '{"prompt":"x","choices":["a","b"],"answer":2}' >>questions.jsonl
    expect_message 1 'questions.jsonl: line 3: "answer": expected the number of a choice, 0 to 1' 'an answer that is none' \
        "$SOW" lm score --model smollm2 --choices questions.jsonl
    echo '{"prompt":"x","choices":["a"]}' >one.jsonl
    expect_message 1 'line 1: "choices": found 1, expected a list of 2 to 64' 'no choice' "$SOW" lm score --model smollm2 --choices one.jsonl
    : >none.txt
    expect_message 1 'no question in it' 'an empty file' "$SOW" lm score --model smollm2 --choices none.txt
    expect_message 1 'nothing to predict' 'an empty text' "$SOW" lm score --model smollm2 --data none.txt
    expect_ok 'a model becomes a Hugging Face folder' "$SOW" lm export --model smollm2 --dtype bf16 -o folder
    expect_message 1 'exists already' 'which is not overwritten' "$SOW" lm export --model smollm2 -o folder
    expect_output '^ Paris[.]$' 'and goes on alike' "$SOW" lm generate --model folder -p 'The capital of France is' --max-tokens 3
    expect_output '^504 3575 282 4649 314$' 'with the same tokens' "$SOW" lm tokenize --model folder --data two.txt
    expect_true 'and says how it was made' grep -q 'sow lm export' folder/README.md
    rm -r folder
    printf 'a\377b' >bad.txt
    expect_message 1 'text 1: the text is not UTF-8 at byte 1' 'text that is not UTF-8' "$SOW" lm tokenize --model smollm2 --data bad.txt
    expect_ok 'unless it is replaced' "$SOW" lm tokenize --model smollm2 --data bad.txt --invalid replace
else
    skip 'sow lm with a language model' 'sow fetch smollm2'
fi
if "$SOW" lm tokenize --model minilm --data two.txt >/dev/null 2>&1; then
    expect_ok 'sentence vectors' "$SOW" lm embed --model minilm --data two.txt -o e.npy
    expect_message 1 'exists already' 'are not overwritten' "$SOW" lm embed --model minilm --data two.txt -o e.npy
    expect_message 1 'an encoder does not continue texts' 'an encoder does not generate' "$SOW" lm generate --model minilm -p a
    expect_message 1 'an encoder has no next-token head' 'an encoder predicts nothing' "$SOW" lm score --model minilm --data two.txt
    expect_ok 'an encoder becomes a folder too' "$SOW" lm export --model minilm -o encoder
    "$SOW" lm embed --model encoder --data two.txt -o f.npy 2>/dev/null
    expect_same 'with the same vectors' e.npy f.npy
else
    skip 'sow lm with an encoder' 'sow fetch minilm'
fi
