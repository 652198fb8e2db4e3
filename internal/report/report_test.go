package report

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite testdata/example.html and testdata/example.svg")

// wave is a made-up training curve that rises and levels off.
func wave(rng *rand.Rand, n int, from, to, noise float64) []Point {
	out := make([]Point, n)
	for i := range out {
		y := to + (from-to)*math.Exp(-4*float64(i)/float64(n)) + noise*rng.NormFloat64()
		out[i] = Point{X: float64(i + 1), Y: y, Low: y - 2*noise, High: y + 2*noise}
	}
	return out
}

// exampleScatter is reward against KL of three methods with three seeds each.
func exampleScatter(rng *rand.Rand) ScatterChart {
	chart := ScatterChart{Title: "Reward against KL to the common reference",
		Caption: "A point is a checkpoint, a thin line a seed, the bold line the mean over seeds. Up and to the left is better: more reward for the same distance.",
		X:       Axis{Label: "KL to SFT model 1", Unit: "nats per completion", Include: []float64{0}}, Y: Axis{Label: "Reward", Unit: "gold model"}}
	for m, method := range []string{"PPO", "SALSA", "DPO"} {
		g := Group{Name: method, Mean: make([]Point, 10)}
		for seed := range 3 {
			t := Trace{Name: "seed " + string(rune('1'+seed))}
			for i := range 10 {
				kl := float64(i) * (2.2 + 0.9*float64(m%2)) * (1 + 0.08*rng.NormFloat64())
				y := []float64{0.7, 0.95, 0.6}[m]*(1-math.Exp(-kl/9)) + 0.03*rng.NormFloat64()
				t.Points, t.Labels = append(t.Points, Point{X: kl, Y: y}), append(t.Labels, "step "+string(rune('0'+i))+"00")
				g.Mean[i].X, g.Mean[i].Y = g.Mean[i].X+kl/3, g.Mean[i].Y+y/3
			}
			g.Lines = append(g.Lines, t)
		}
		chart.Groups = append(chart.Groups, g)
	}
	return chart
}

// example uses every block, with hostile text wherever text goes.
func example() *Report {
	rng := rand.New(rand.NewPCG(1, 2))
	loss := wave(rng, 400, 3.4, 1.9, 0.12)
	loss[200].Y = math.NaN()
	return &Report{
		Title: "SALSA against PPO on TinyStories", Series: []string{"PPO", "SALSA", "DPO", "SFT"},
		Subtitle: "Two SFT models, their soup as the reference, one reward model, three seeds. Numbers below are made up: this page shows the layout.",
		Lead: []Block{
			Tiles{{"SALSA wins against PPO", "61.4 %", "95 % interval 56.0 to 66.5, 400 prompts"}, {"Reward at equal KL", "+0.18", "0.09 to 0.27, at 12 nats"},
				{"KL to SFT model 1", "14.2 nats", "PPO 9.8"}, {"Wall time", "41 min", "2 cores, float32"}},
			Note{Good, "The soup reference helps here", []string{"SALSA reaches a higher gold reward at **every** KL both methods visit, in all three seeds. At the end of training it also drifts further (`objective/kl` 14.2 against 9.8)."}},
		},
		Sections: []Section{
			{"Result", "Win rates are from both answer orders; a disagreement between the orders is a tie.", []Block{
				exampleScatter(rng),
				BarCI{Title: "Win rate against the SFT model", Caption: "Points with 95 % bootstrap intervals over prompts.",
					X: Axis{Label: "Adjusted win rate", Percent: true}, Reference: 0.5, ReferenceText: "no difference",
					Rows: []Estimate{{"TinyStories held out", "PPO", 0.58, 0.53, 0.63, ""}, {"TinyStories held out", "SALSA", 0.66, 0.61, 0.71, ""},
						{"Longer prompts", "PPO", 0.52, 0.46, 0.58, ""}, {"Longer prompts", "SALSA", 0.57, 0.51, 0.63, ""},
						{"Unseen <words> & \"names\"", "PPO", 0.49, 0.42, 0.56, ""}, {"Unseen <words> & \"names\"", "SALSA", 0.55, 0.48, 0.62, ""}}},
				Table{Title: "Final checkpoints", Caption: "Best of each column in **bold green**; intervals at 95 %.",
					Columns: []Column{{"Method", false, NoBest}, {"Gold reward", true, Highest}, {"KL (nats)", true, Lowest}, {"Win rate", true, Highest}, {"Length", true, NoBest}, {"Learning rate", true, NoBest}},
					Rows: [][]Cell{{Text("PPO"), Estimated(0.512, 0.47, 0.55, 2), Value(9.81, 1), Text("baseline"), Value(112, 0), Value(3e-6, 0)},
						{Text("SALSA"), Estimated(0.694, 0.66, 0.73, 2), Value(14.2, 1), Estimated(61.4, 56.0, 66.5, 1), Value(118, 0), Value(3e-6, 0)},
						{Text("DPO"), Estimated(0.401, 0.36, 0.44, 2), Value(11.0, 1), Estimated(44.9, 39.5, 50.2, 1), Value(141, 0), Value(5e-7, 0)}}},
				Note{Verdict: Mixed, Title: "What this does not show", Text: []string{"The intervals on unseen names include 50 %. One reward model, one base model."}},
			}},
			{"Training", "", []Block{
				LineChart{Title: "SFT loss", Caption: "Moving average over the raw values.", X: Axis{Label: "Optimizer step"}, Y: Axis{Label: "Loss", Unit: "nats per token"}, Series: []Series{{Name: "loss", Points: loss, Smooth: 0.9}}},
				Columns{
					LineChart{Title: "Reward", X: Axis{Label: "Step"}, Y: Axis{Label: "Mean score"}, Series: []Series{
						{Name: "PPO", Points: wave(rng, 30, 0, 0.5, 0.03), Band: true}, {Name: "SALSA", Points: wave(rng, 30, 0, 0.7, 0.03), Band: true}}},
					LineChart{Title: "Learning rate", X: Axis{Label: "Step"}, Y: Axis{Label: "Learning rate", Log: true}, Series: []Series{{Name: "lr", Points: []Point{{X: 1, Y: 1e-7}, {X: 10, Y: 3e-6}, {X: 100, Y: 2e-5}, {X: 200, Y: 0}}}}},
				},
			}},
			{"Samples", "", []Block{Samples{Title: "Same prompt, three models", Methods: []string{"SFT", "PPO", "SALSA"}, Caption: "Temperature 0.",
				Rows: []SampleRow{
					{"Once upon a time there was a little dog named", []Sample{{"Max. He liked to run.\nHe ran all day.", 0.21, "12 tokens"}, {"Max who found a shiny red ball in the park and shared it.", 0.66, "15 tokens"}, {"Max. Max found a red ball, and he was happy to share it with Lily.", 0.83, "19 tokens"}}},
					{"<script>alert(1)</script> & \x00\x1b[31m", []Sample{{strings.Repeat("very long ", 120), math.NaN(), "no stop token"}, {"</div><img src=x onerror=alert(1)>", -1.5, ""}, {"]]> <!-- '\"", -1.5, ""}}}}}}},
			{"What was run", "", []Block{Columns{
				KeyValues{"Setting", []KeyValue{{"Policy", "`llama`, 15.2M parameters"}, {"Reference", "soup of 2, weights 0.5, 0.5"}, {"KL coefficient", "0.05"}, {"Seeds", "1, 2, 3"}, {"SHA-256", "6f1c…9e02"}}},
				Code{"Command", "salsa ppo --model sft1 --reference sft1,sft2 \\\n  --reward-model rm --data prompts.jsonl --out run"}},
				Details{"All settings", []Block{Code{"", "seed: 1\nlr: 3e-06"}, Paragraph("Nothing else.")}},
				Note{Verdict: Bad, Title: "Claim not held", Text: []string{"An example of the red note."}}, Note{Title: "Note", Text: []string{"A neutral one."}}}},
		},
		Footer: "Written by `salsa report`. This file loads nothing from the network.",
	}
}

func rendered(t *testing.T, r *Report) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, r.WriteHTML(&out))
	return out.String()
}

// wellFormed reads the whole document with a strict XML parser.
func wellFormed(t *testing.T, doc string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(doc))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

// golden compares with a file of testdata, or rewrites it under -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, string(want) == got, "%s differs; look at it in a browser and rerun with -update if it is right", path)
}

func TestExampleReport(t *testing.T) {
	doc := rendered(t, example())
	golden(t, "example.html", doc)
	wellFormed(t, doc)
	require.Equal(t, doc, rendered(t, example()), "the same report gives the same bytes")
}

var external = regexp.MustCompile(`(?i)https?://|//[a-z]+\.|@import|url\(|<script|<link|<iframe|javascript:|onerror="|src=["']`)

func TestNothingIsLoadedFromElsewhereAndTextCannotBreakOut(t *testing.T) {
	doc := rendered(t, example())
	require.Empty(t, external.FindAllString(doc, -1))
	require.Contains(t, doc, "&lt;script&gt;alert(1)&lt;/script&gt; &amp; ␀␛[31m")
	require.NotContains(t, doc, "\x00")
	require.NotContains(t, doc, "NaN")
	require.NotContains(t, doc, "Inf")
}

func TestEveryBlockAppearsOnce(t *testing.T) {
	doc := rendered(t, example())
	for text, count := range map[string]int{
		"<svg ": 8, "<h2>": 4, `<a href="#s`: 4, `class="tile"`: 4, `class="note good"`: 1, `class="note mixed"`: 1, `class="note bad"`: 1,
		`class="note info"`: 1, `class="sample"`: 2, `class="cell top"`: 1, "<table>": 1, "<dl>": 1, "<pre>": 2, "more characters": 1,
	} {
		require.Equal(t, count, strings.Count(doc, text), text)
	}
}

func TestStandaloneSVG(t *testing.T) {
	var out strings.Builder
	rng := rand.New(rand.NewPCG(3, 4))
	require.NoError(t, WriteSVG(&out, exampleScatter(rng), "PPO", "SALSA"))
	golden(t, "example.svg", out.String())
	wellFormed(t, out.String())
	require.Empty(t, external.FindAllString(strings.ReplaceAll(out.String(), `xmlns="http://www.w3.org/2000/svg"`, ""), -1))
	require.Contains(t, out.String(), "prefers-color-scheme:dark")

	path := filepath.Join(t.TempDir(), "chart.svg")
	require.NoError(t, WriteSVGFile(path, exampleScatter(rand.New(rand.NewPCG(3, 4))), "PPO", "SALSA"))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, out.String(), string(got))
}

func TestWriteFileLeavesNoHalfReport(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	require.NoError(t, example().WriteFile(path))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Error(t, example().WriteFile(filepath.Join(dir, "absent", "report.html")))
}
