. "$SOW_ROOT/tests/cli/lib.sh"

expect_ok 'man writes pages' "$SOW" man -o man
expect_file 'sow.1 is there' man/sow.1
for command in $("$SOW" list --json | sed -n 's/^ *"name": "\(.*\)",*$/\1/p'); do
    expect_file "sow-$command.1 is there" "man/sow-$command.1"
    expect_output "^\.BR sow\\\\-$(echo "$command" | sed 's/-/\\\\-/g') \(1\)" "sow.1 names $command" cat man/sow.1
done
expect_output '^\.B \\-\\-steps N$' 'a page lists the options' cat man/sow-train.1
for page in man/*.1; do
    if ! command -v groff >/dev/null; then skip "$page is clean roff" 'no groff'; continue; fi
    groff -man -Tutf8 -ww "$page" >/dev/null 2>groff.err
    if [ -s groff.err ]; then fail "$page is clean roff" "$(head -n 3 groff.err)"; else pass "$page is clean roff"; fi
done

"$SOW" completion bash >completion
expect_ok 'the completion script is a script' bash -n completion
complete_words() { # LINE...: what bash would offer for the last word
    bash -c '. ./completion; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sow; printf "%s\n" "${COMPREPLY[@]}"' complete "$@"
}
expect_output '^inspect$' 'commands are completed' complete_words sow ins
expect_output '^--momentum$' 'options are completed' complete_words sow train --mom
expect_output '^adamw$' 'choices are completed' complete_words sow train --optimizer a
run complete_words sow x
expect_true 'nothing is offered for nothing' [ -z "$(cat "$out" | tr -d '\n')" ]

if [ -d "$SOW_ROOT/docs/methods" ]; then
    expect_ok 'the option tables in docs/methods are current' "$SOW" docs --check -o "$SOW_ROOT/docs/methods"
fi
first=$("$SOW" list --json | sed -n '/"family"/{n;s/^ *"name": "\(.*\)",*$/\1/p;q}')
if [ -n "$first" ]; then
    mkdir pages
    for method in $("$SOW" list --json | sed -n '/"family"/{n;s/^ *"name": "\(.*\)",*$/\1/p}'); do
        printf 'before\n<!-- options: begin -->\nold\n<!-- options: end -->\nafter\n' >"pages/$method.md"
    done
    expect_message 1 'its option tables are old' 'old tables are noticed' "$SOW" docs --check -o pages
    expect_ok 'docs renews the tables' "$SOW" docs -o pages
    expect_output '^\| `-o, --out PATH` \| ' 'a table lists the options' cat "pages/$first.md"
    expect_output '^after$' 'the rest of the page stays' cat "pages/$first.md"
    cp "pages/$first.md" once
    expect_ok 'docs can run again' "$SOW" docs -o pages
    expect_same 'and changes nothing then' once "pages/$first.md"
    echo 'no markers' >"pages/$first.md"
    expect_message 1 "expected the lines '<!-- options: begin -->'" 'a page without markers is named' "$SOW" docs -o pages
fi
