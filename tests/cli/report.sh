. "$SOW_ROOT/tests/cli/lib.sh"

# A race of three arms over six seeds: a trainer in awk, the second arm better by .05, its name hostile.
cat >train.sh <<'END'
exec awk -v seed="$1" -v gain="$2" -v noise="$3" 'BEGIN { srand(seed); base = .8 + .02 * rand(); srand(seed * 7 + noise)
    for (i = 0; i <= 20; i++) printf "{\"step\":%d,\"acc\":%.6f,\"loss\":%.6f}\n", 10 * i, (base + gain) * (1 - exp(-i / 4)) + .002 * rand(), exp(-i / 6) }'
END
cat >plan.json <<'END'
{"sow_plan":1,"name":"small-race","reference":"base","train":"sh train.sh {seed} {gain} {noise}","steps":200,
 "arms":[{"name":"base","none":true,"vars":{"gain":"0","noise":"1"}},{"name":"better</script><b>","none":true,"vars":{"gain":"0.05","noise":"2"}},
         {"name":"alike","none":true,"vars":{"gain":"0","noise":"3"}}],
 "metric":{"name":"acc","direction":"max"},"also":["loss"],"seeds":{"min":6,"max":7},"race":{"rule":"none"}}
END
expect_message 1 'plan.json: has not been run yet' 'a plan without a run is named' "$SOW" report plan.json
expect_message 1 'nowhere: no such file or folder' 'a missing plan is named' "$SOW" report nowhere
mkdir empty
expect_message 1 'neither a race \(plan.json\) nor a study' 'a folder of something else is refused' "$SOW" report empty
expect_ok 'a race is run' "$SOW" prove plan.json -q

expect_ok 'the page is written' "$SOW" report plan.json -o report.html
expect_message 1 'report.html exists already' 'it is not overwritten' "$SOW" report plan.json -o report.html
cp report.html once.html
expect_ok 'but with --force' "$SOW" report plan.json -o report.html --force
expect_same 'the same store gives the same page' once.html report.html
expect_ok 'the folder of the run will do, and holds the page' "$SOW" report plan.sow
expect_same 'which is the same' plan.sow/report.html report.html
expect_output 'better&lt;/script&gt;&lt;b&gt; is better than base' 'the verdict is in words' cat report.html
expect_true 'names break out of nothing' [ "$(grep -c 'script><b>' report.html)" = 0 ]
expect_ok 'a page without script' "$SOW" report plan.json -o static.html --static
expect_true 'has no program' [ "$(grep -c sowVega static.html)" = 0 ]
expect_true 'and a drawing for each plot' [ "$(grep -c '<svg xmlns' static.html)" = 7 ]

expect_output '^\| \*\*better&lt;/script>&lt;b>\*\* \|' 'Markdown: the confirmed arm is bold' "$SOW" report plan.json --markdown
expect_output '^base & 0\.[0-9]+ & .* & reference \\\\$' 'LaTeX has a row an arm' "$SOW" report plan.json --latex
expect_message 2 'exclude each other' 'one kind of table at a time' "$SOW" report plan.json --latex --csv
expect_output '"verdict": "confirmed"' 'JSON tells the verdict' "$SOW" report plan.json --json
expect_ok 'CSV of all trainings' "$SOW" report plan.json --csv -o cells.csv
expect_output '^base,1000,|^base,0,' 'has a row a cell' cat cells.csv
expect_true 'and every record of every curve' [ "$(wc -l <cells.curves.csv)" -eq $(($(grep -c ,done, cells.csv) * 42 + 1)) ]
expect_output '^better</script><b> +confirmed ' 'sow stats reads it and agrees' "$SOW" stats cells.csv --reference base
expect_ok 'event files for TensorBoard' "$SOW" report plan.json --tensorboard tb
expect_true 'one a training' [ "$(find tb -name 'events.out.tfevents.*' | wc -l)" -eq "$(grep -c ,done, cells.csv)" ]

# Failures are told in their own words, which are text and nothing else.
cat >failing.json <<'END'
{"sow_plan":1,"name":"failing","reference":"base","train":"sh train.sh {seed} 0 {noise}; {after}","steps":200,
 "vars":{"noise":"1","after":"true"},
 "arms":[{"name":"base","none":true},{"name":"bad","none":true,"vars":{"after":"echo \"<i>boom</i>\" >&2; exit 3"}}],
 "metric":{"name":"acc","direction":"max"},"seeds":{"min":6,"max":6},"failure":{"rule":"undecided","retries":0}}
END
sed -i 's/{after}"/eval {after}"/' failing.json
run "$SOW" prove failing.json -q
expect_ok 'a race with failures has a page' "$SOW" report failing.json -o failing.html --static
expect_output '&lt;i&gt;boom&lt;/i&gt;' 'which tells why they failed' cat failing.html
expect_true 'and runs nothing of it' [ "$(grep -c '<i>boom' failing.html)" = 0 ]

# A study's folder is a verdict and drawings.
mkdir study
cat >study/verdict.json <<'END'
{"study": "tiny", "scale": "smoke", "claim": "A is <b>better</b>.", "verdict": "confirmed",
 "clauses": [{"says": "A beats B", "statistic": "mean difference", "op": ">=", "value": 0, "effect": 0.5, "low": 0.1, "high": 0.9, "n": 3, "holds": true}],
 "arms": [{"arm": "A", "metric": "accuracy", "mean": 1.5, "min": 1, "max": 2, "sd": 0.5, "n": 3}, {"arm": "B", "metric": "accuracy", "mean": 1, "min": 0.5, "max": 1.5, "sd": 0.5, "n": 3}]}
END
expect_ok 'a study has a page' "$SOW" report study
expect_output '<p>A is &lt;b&gt;better&lt;/b&gt;.</p>' 'with its claim' cat study/report.html
expect_true 'its clauses and its metric drawn' [ "$(grep -c '<svg xmlns' study/report.html)" = 2 ]
echo '{"study": 1' >study/verdict.json
expect_message 1 'study/verdict.json: line [12]' 'a damaged verdict is named' "$SOW" report study -o other.html
expect_absent 'and nothing is written' other.html

# The page as a browser draws it; its picture stays beside the programs.
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ] || [ ! -e /usr/share/javascript/vega/vega-view.min.js ]; then
    skip 'a browser draws the page' 'no chromium, or no libjs-vega'
    exit
fi
browse() { # FLAGS...
    timeout 120 "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$TMPDIR/browser" --enable-logging=stderr \
        "$@" "file://$TMPDIR/report.html"
}
run browse --dump-dom --virtual-time-budget=60000
cp "$out" dom.html
cp "$err" console.txt
expect_true 'a browser draws all seven plots' grep -q '<html[^>]* data-failed="0" data-drawn="7"' dom.html
expect_true 'without a word on the console' [ "$(grep -c CONSOLE console.txt)" = 0 ]
marks() { grep -o "class=\"mark-$1 role-mark[ \"]" dom.html | wc -l; }
# curves: seeds and mean of each arm; slopes: one; profile and budget: one an arm
expect_true 'lines are drawn' [ "$(marks line)" = 13 ]
expect_true 'bands are drawn' [ "$(marks area)" = 3 ]
expect_true 'bars are drawn' [ "$(marks rect)" = 1 ]
# two arms: the interval and its ends; zero
expect_true 'intervals are drawn' [ "$(marks rule)" = 7 ]
expect_true 'keyboards reach plots and pickers' [ "$(grep -o '<select' dom.html | wc -l)" = 5 ]
# A copy that may run a script which presses keys and picks a name: labels of the axis before, enlarged, and back.
{
    sed -e 's/<meta http-equiv="Content-Security-Policy"[^>]*>//' -e '/^<\/body>/d' -e '/^<\/html>/d' report.html
    cat <<'END'
<script>
var figure = [...document.querySelectorAll("figure[data-plot]")].find(f => f.querySelector("h3").textContent === "acc while training"), log = [];
var note = () => log.push([...figure.querySelectorAll(".live .role-axis-label text")].map(t => t.textContent).join());
var press = key => figure.querySelector(".live").dispatchEvent(new KeyboardEvent("keydown", {key: key}));
var steps = [note, () => press("+"), note, () => press("0"), note, () => {
    var select = figure.querySelector("select");
    select.value = "2";
    select.dispatchEvent(new Event("change"));
}, () => {
    var clear = [...figure.querySelectorAll(".live .mark-line path")].filter(p => (p.getAttribute("opacity") || p.style.opacity) === "1").length;
    document.documentElement.dataset.log = [log[0] !== log[1], log[0].length && log[0].split(",").sort().join() === log[2].split(",").sort().join(), clear].join();
}];
setInterval(() => { if (document.documentElement.dataset.drawn && steps.length) steps.shift()(); }, 200);
</script></body></html>
END
} >touched.html
run timeout 120 "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$TMPDIR/browser" --dump-dom --virtual-time-budget=60000 \
    "file://$TMPDIR/touched.html"
cp "$out" touched.dom
expect_true 'keys enlarge a plot and bring it back, and a picked name stands out' grep -q '<html[^>]* data-log="true,true,1"' touched.dom
shots=$(dirname "$SOW")
run browse --window-size=1000,4600 --screenshot="$shots/report.png"
expect_file 'a picture of it is kept' "$shots/report.png"
run browse --window-size=1000,4600 --blink-settings=preferredColorScheme=0 --screenshot="$shots/report-dark.png"
expect_file 'and one in the dark' "$shots/report-dark.png"
