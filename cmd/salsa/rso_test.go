package main

// RSO end to end: what its files say can be recomputed with other commands, it ends the same however it was stopped,
// and best-of-N is its limit.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"salsa/internal/fault"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const rsoLine = "rso --model @sft1 --reward-model @rm --data @prompts.jsonl --candidates 12 --accept 4 --beta 0.2 --max-new-tokens 6 " +
	"--temperature 1 --sample-batch-size 16 --chunk-size 4 --batch-size 8 --learning-rate 0.001 --seed 5 "

type drawnRow struct {
	Prompt     string
	PromptIDs  []int `json:"prompt_ids"`
	Candidates []drawnCandidate
}

type drawnCandidate struct {
	Completion    string
	CompletionIDs []int `json:"completion_ids"`
	Ended         bool
	Drawn         int
	Score         float64
}

type rsoPair struct {
	Prompt, Chosen, Rejected string
	PromptIDs                []int   `json:"prompt_ids"`
	ChosenIDs                []int   `json:"chosen_ids"`
	RejectedIDs              []int   `json:"rejected_ids"`
	ScoreChosen              float64 `json:"score_chosen"`
	ScoreRejected            float64 `json:"score_rejected"`
}

type rsoStats struct {
	Prompts, Pairs, Ties, Tried                    int
	Skipped                                        int `json:"prompts_with_too_few_unique_candidates"`
	Candidates, Unique, Accepted, Chosen, Rejected struct {
		Count  int
		Reward float64 `json:"mean_reward"`
	}
	PassAccepted []int   `json:"accepted_in_pass"`
	Acceptance   float64 `json:"acceptance_rate"`
}

func TestRSO(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	last := w.do(t, rsoLine+"--out "+out+"/a")
	holdsRun(t, out+"/a", 6, append(runFiles, "reference.json", "sampler.json", "reward-model.json", "candidates.jsonl", "pairs.jsonl", "rso.json")...)
	for _, key := range []string{"loss", "rewards/accuracies", "rso/pairs", "rso/acceptance_rate", "rso/reward_accepted", "tokens_per_s", "s_per_step", "peak_rss_mb"} {
		assert.Contains(t, last, key)
	}

	drawn := rowsOf[drawnRow](t, out+"/a/candidates.jsonl")
	require.Len(t, drawn, 24)
	scores := scoresOf(t, w, drawn)
	var all, weights float64
	for _, row := range drawn {
		texts, n := map[string]bool{}, 0
		for _, c := range row.Candidates {
			assert.False(t, texts[c.Completion], "%q twice", c.Completion)
			texts[c.Completion] = true
			n += c.Drawn
			assert.InDelta(t, scores[0], c.Score, 1e-4)
			scores = scores[1:]
			all, weights = all+c.Score*float64(c.Drawn), weights+float64(c.Drawn)
		}
		assert.Equal(t, 12, n)
	}

	stats := readJSON[rsoStats](t, out+"/a/rso.json")
	assert.Equal(t, 24, stats.Prompts)
	assert.Equal(t, 24*12, stats.Candidates.Count)
	assert.InDelta(t, all/weights, stats.Candidates.Reward, 1e-9)
	assert.Equal(t, 4*(24-stats.Skipped), stats.Accepted.Count)
	assert.InDelta(t, float64(stats.Accepted.Count)/float64(stats.Tried), stats.Acceptance, 1e-12)
	sum := 0
	for _, n := range stats.PassAccepted {
		sum += n
	}
	assert.Equal(t, stats.Accepted.Count, sum)
	assert.Greater(t, stats.Accepted.Reward, stats.Candidates.Reward)
	assert.Greater(t, stats.Chosen.Reward, stats.Rejected.Reward)
	assert.InDelta(t, stats.Accepted.Reward, (stats.Chosen.Reward+stats.Rejected.Reward)/2, 1e-9, "without ties")
	pairsComeFrom(t, drawn, rowsOf[rsoPair](t, out+"/a/pairs.jsonl"), stats)
}

// scoresOf asks `salsa score` for the rewards of all candidates in order.
func scoresOf(t *testing.T, w *world, drawn []drawnRow) []float64 {
	t.Helper()
	var ids bytes.Buffer
	for _, row := range drawn {
		for _, c := range row.Candidates {
			writeLine(&ids, map[string]any{"prompt_ids": row.PromptIDs, "completion_ids": c.CompletionIDs})
		}
	}
	to := t.TempDir() + "/r.jsonl"
	w.do(t, "score --model @rm --data "+put(t, "ids.jsonl", ids.String())+" --out "+to)
	var scores []float64
	for _, r := range rowsOf[struct{ Reward float64 }](t, to) {
		scores = append(scores, r.Reward)
	}
	return scores
}

// pairsComeFrom looks both sides of every pair up among the candidates of its prompt.
func pairsComeFrom(t *testing.T, drawn []drawnRow, pairs []rsoPair, stats rsoStats) {
	t.Helper()
	require.Len(t, pairs, stats.Pairs)
	require.Equal(t, 2*(24-stats.Skipped), stats.Pairs+stats.Ties)
	for _, p := range pairs {
		assert.Greater(t, p.ScoreChosen, p.ScoreRejected)
		row := drawn[slices.IndexFunc(drawn, func(d drawnRow) bool { return slices.Equal(d.PromptIDs, p.PromptIDs) })]
		found := 0
		for _, c := range row.Candidates {
			if slices.Equal(c.CompletionIDs, p.ChosenIDs) && c.Score == p.ScoreChosen && c.Completion == p.Chosen ||
				slices.Equal(c.CompletionIDs, p.RejectedIDs) && c.Score == p.ScoreRejected && c.Completion == p.Rejected {
				found++
			}
		}
		assert.Equal(t, 2, found, p.Prompt)
	}
}

// The training half is salsa dpo on the pairs file, to the last bit; and with γ as DPO's β it is DPO.
func TestRSOTrainsAsDPO(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	for _, loss := range []string{"sigmoid_norm", "hinge"} {
		line := " --batch-size 8 --learning-rate 0.001 --warmup-ratio 0.1 --seed 5 --gamma 0.3 --loss " + loss
		w.do(t, rsoLine+line+" --reference @sft1,@sft2 --out "+out+"/"+loss)
		w.do(t, "dpo --model @sft1 --reference @sft1,@sft2 --beta 0.3 --data "+out+"/"+loss+"/pairs.jsonl"+line+" --out "+out+"/dpo-"+loss)
		assert.Equal(t, weights(t, out+"/dpo-"+loss), weights(t, out+"/"+loss), loss)
		assert.Equal(t, steps(t, out+"/dpo-"+loss), steps(t, out+"/"+loss), loss)
	}
	assert.NoFileExists(t, out+"/hinge/reference.json")
	w.do(t, "dpo --model @sft1 --reference @sft1,@sft2 --beta 0.3 --loss sigmoid --data "+out+"/sigmoid_norm/pairs.jsonl --batch-size 8 --learning-rate 0.001 --seed 5 --out "+out+"/dpo")
	assert.Equal(t, weights(t, out+"/dpo"), weights(t, out+"/sigmoid_norm"))
}

// sameRSO compares all that two runs leave behind and that does not tell the time.
func sameRSO(t *testing.T, a, b string) {
	t.Helper()
	for _, name := range []string{"candidates.jsonl", "pairs.jsonl", "rso.json", "model.safetensors", "done.json", "sampler.json", "reference.json"} {
		x, err := os.ReadFile(filepath.Join(a, name))
		require.NoError(t, err)
		y, err := os.ReadFile(filepath.Join(b, name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(x, y), "%s differs", name)
	}
	assert.Equal(t, steps(t, a), steps(t, b))
}

func TestRSOStoppedAndResumed(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	line := strings.Replace(rsoLine, "--candidates 12", "--candidates 40", 1) + " --out " + out
	w.do(t, line+"/whole")

	for i, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		cmd := w.program(line + "/parts --quiet" + []string{"", " --resume"}[i])
		var errs bytes.Buffer
		cmd.Stderr = &errs
		require.NoError(t, cmd.Start())
		waitFor(t, "chunk", hasLines(out+"/parts/candidates.jsonl", 4+8*i))
		require.NoError(t, cmd.Process.Signal(signal))
		code := exitCode(t, cmd)
		require.NoFileExists(t, out+"/parts/rso.json", "stopped too late to show anything")
		if signal == syscall.SIGINT {
			assert.Equal(t, fault.ExitInterrupted, code)
			assert.Regexp(t, `^salsa: stopping; .*\nsalsa: interrupted after the candidates of \d+ of 24 prompts: saved; the same command with --resume goes on\n$`, errs.String())
		}
	}
	// A row that was cut off and one beyond the last whole chunk are drawn again.
	raw, err := os.ReadFile(out + "/parts/candidates.jsonl")
	require.NoError(t, err)
	kept := slices.Collect(strings.Lines(string(raw)))
	torn := strings.Join(kept[:len(kept)-2], "") + kept[len(kept)-2][:40]
	require.NoError(t, os.WriteFile(out+"/parts/candidates.jsonl", []byte(torn), 0o644))
	// Inspected first, then trained on.
	w.do(t, line+"/parts --resume --pairs-only")
	assert.NoFileExists(t, out+"/parts/done.json")
	require.NoError(t, os.Remove(out+"/parts/rso.json")) // so that its return tells that training begins
	cmd := w.program(line + "/parts --quiet --resume")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	waitFor(t, "training", hasLines(out+"/parts/rso.json", 1))
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Equal(t, fault.ExitInterrupted, exitCode(t, cmd), errs.String())
	assert.Regexp(t, `\nsalsa: interrupted .* saved; the same command with --resume goes on\n$`, errs.String())
	w.do(t, line+"/parts --resume")
	sameRSO(t, out+"/whole", out+"/parts")

	for _, c := range []struct{ line, says string }{
		{line + "/whole", "already holds a run; add --resume"},
		{line + "/whole --resume --beta 0.3", "started with beta 0.2 and is now resumed with 0.3"},
		{line + "/whole --resume --data " + put(t, "p.jsonl", `{"prompt":" hot salsa:"}`+"\n"), "started with data"},
	} {
		code, _, errs := salsa(t, newRootCmd(), w.args(c.line+" --quiet")...)
		assert.Equal(t, fault.ExitInput, code)
		assert.Contains(t, errs, c.says)
	}
}

// A resumed run is held to the prompts and the reward model that its candidates belong to.
func TestRSOResumesWithTheSameInputs(t *testing.T) {
	w, out, rm := theWorld(), t.TempDir(), theWorld().copyModel(t, "rm")
	raw, err := os.ReadFile(w.at("prompts.jsonl"))
	require.NoError(t, err)
	asked := put(t, "asked.jsonl", string(raw))
	line := strings.NewReplacer("@rm", rm, "@prompts.jsonl", asked).Replace(rsoLine) + "--pairs-only --resume --quiet --out " + out + "/a"
	w.do(t, line)

	refused := func(says string) {
		code, _, errs := salsa(t, newRootCmd(), w.args(line)...)
		assert.Equal(t, fault.ExitInput, code)
		assert.Contains(t, errs, says)
	}
	lines := slices.Collect(strings.Lines(string(raw)))
	lines[1] = `{"prompt":" hot hot hot hot salsa:"}` + "\n"
	require.NoError(t, os.WriteFile(asked, []byte(strings.Join(lines, "")), 0o644))
	refused("candidates.jsonl:2: the candidates are of another prompt than --data has there now; put the old --data back")
	require.NoError(t, os.WriteFile(asked, raw, 0o644))

	drawn := rowsOf[map[string]any](t, out+"/a/candidates.jsonl")
	var even bytes.Buffer
	for _, row := range drawn {
		for _, c := range row["candidates"].([]any) {
			c.(map[string]any)["score"] = 1
		}
		writeLine(&even, row)
	}
	require.NoError(t, os.WriteFile(out+"/a/candidates.jsonl", even.Bytes(), 0o644))
	refused("no pair to train on: of 24 prompts 0 have fewer than 4 unique candidates, and 48 matches are ties")

	other, err := os.ReadFile(w.at("sft1/model.safetensors"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(rm+"/extra.safetensors", other, 0o644))
	refused("has changed since the run began")
}

// Best-of-N: the completion with the highest score, which is what β = 0 accepts first; rows that salsa sft takes.
func TestRSOBestOfN(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	last := w.do(t, rsoLine+"--select best --out "+out+"/best")
	assert.NotContains(t, last, "loss")
	assert.NoFileExists(t, out+"/best/pairs.jsonl")
	assert.NoFileExists(t, out+"/best/model.safetensors")
	w.do(t, rsoLine+"--beta 0 --accept 2 --pairs-only --out "+out+"/limit")
	pairs := rowsOf[rsoPair](t, out+"/limit/pairs.jsonl")
	type bestRow struct {
		Prompt, Completion string
		PromptIDs          []int `json:"prompt_ids"`
		CompletionIDs      []int `json:"completion_ids"`
		Score              float64
	}
	best := rowsOf[bestRow](t, out+"/best/best.jsonl")
	drawn := rowsOf[drawnRow](t, out+"/best/candidates.jsonl")
	require.Len(t, best, 24)
	require.Len(t, pairs, 24)
	for i, b := range best {
		order := slices.Clone(drawn[i].Candidates)
		slices.SortStableFunc(order, func(a, b drawnCandidate) int { return cmp.Compare(b.Score, a.Score) })
		assert.Equal(t, order[0].CompletionIDs, b.CompletionIDs)
		assert.Equal(t, order[0].Score, b.Score)
		assert.Equal(t, b.Completion, pairs[i].Chosen)
		assert.Equal(t, order[1].CompletionIDs, pairs[i].RejectedIDs)
	}
	exact := w.do(t, strings.Replace(rsoLine, "@rm", "gold:salsa", 1)+"--select best --out "+out+"/gold") // rewards that nobody learnt
	assert.Greater(t, exact["rso/reward_accepted"], exact["rso/reward_candidates"])
	w.do(t, "sft --model @sft1 --data "+out+"/best/best.jsonl --max-steps 2 --batch-size 8 --learning-rate 0.001 --out "+out+"/raft")
}

func TestRSOMistakes(t *testing.T) {
	short := "rso --model @sft1 --reward-model @rm --data @prompts.jsonl --max-new-tokens 4 --out OUT "
	for _, m := range []mistake{
		{"β below 0", short + "--beta -1", nil, []string{"beta -1: is a temperature; use a --beta of 0"}},
		{"β no number", short + "--beta nan", nil, []string{"beta"}},
		{"n above m", short + "--candidates 4 --accept 8", nil, []string{"accept 8: there are only 4 candidates; raise --candidates, or lower --accept"}},
		{"odd", short + "--accept 5", nil, []string{"first-round pairing needs an even number; use 6, or --pairing tournament"}},
		{"alone", short + "--accept 1", nil, []string{"accept 1: one completion makes no pair", "--select best"}},
		{"γ", short + "--gamma 0", nil, []string{"gamma 0: scales the loss; use a positive --gamma"}},
		{"weights", short + "--data-weights 1,2", nil, []string{"2 weights for 1 data file"}},
		{"weights for nothing", short + "--select best --data-weights 1", nil, []string{"--data-weights weighs what is trained on", "--select best trains nothing"}},
		{"pairing", short + "--pairing swiss", nil, []string{"first-round, tournament"}},
		{"loss", short + "--loss ipo", nil, []string{"sigmoid_norm, hinge_norm, hinge"}},
		{"reward model", strings.Replace(short, "@rm", "@sft2", 1), nil, []string{"sft2"}},
		{"policy", strings.Replace(short, "@sft1", "@rm", 1), nil, []string{"rm"}},
		{"reference", short + "--reference @rm", nil, []string{"rm"}},
		{"no room", short + "--max-new-tokens 640", nil, []string{"--max-new-tokens 640"}},
	} {
		t.Run(m.name, m.try)
	}
	w, out := theWorld(), t.TempDir()
	code, _, errs := salsa(t, newRootCmd(), w.args("rso --model @sft1 --reward-model @rm --data @prompts.jsonl --max-new-tokens 4 --candidates 8 --temperature 0 --quiet --out "+out+"/greedy")...)
	assert.Equal(t, fault.ExitInput, code)
	assert.Contains(t, errs, "no pair to train on: of 24 prompts 24 have fewer than 8 unique candidates")
	assert.Contains(t, errs, "raise --temperature or --candidates, lower --accept")
	var stats rsoStats
	raw, err := os.ReadFile(out + "/greedy/rso.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &stats))
	assert.Equal(t, 24, stats.Skipped)
	assert.Equal(t, 24, stats.Unique.Count)
}

const rsoRecipe = `name: rso
vars: {world: ""}
stages:
  - name: rso
    kind: rso
    with: {model: "${world}/sft1", reward_model: "${world}/rm", data: "${world}/prompts.jsonl", candidates: 6, accept: 2, max_new_tokens: 4,
           temperature: 1, batch_size: 8, quiet: true}
`

func TestRSOInARecipe(t *testing.T) {
	w, path := theWorld(), put(t, "rso.yaml", rsoRecipe)
	out := filepath.Dir(path) + "/out"
	code, _, errs := salsa(t, newRootCmd(), "run", path, "--var", "world="+w.dir, "--out", out)
	require.Equal(t, 0, code, errs)
	assert.FileExists(t, out+"/stages/rso/model.safetensors")
}
