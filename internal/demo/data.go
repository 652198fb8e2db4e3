package demo

// The files of the task: pretraining text, demonstrations, prompts. All follow from a seed.

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// The files that WriteAll makes inside its folder.
const (
	PretrainFile     = "pretrain.jsonl"
	SFTFile          = "sft.jsonl"
	SFTEvalFile      = "sft-eval.jsonl"
	PromptsTrainFile = "prompts-train.jsonl"
	PromptsEvalFile  = "prompts-eval.jsonl"
	BaseConfigDir    = "base-config"
)

// How many rows the files have; PromptsTrainFile has every order of every training combination.
const (
	PretrainRows    = 12000
	SFTRows         = 2000
	SFTEvalRows     = 300
	PromptsEvalRows = 64
	heldOut         = 32 // combinations that no training file contains
)

// stream returns the random numbers for one purpose: those of different names are independent, so that more rows
// of one file do not change another.
func stream(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name)) // a hash never fails to write
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// Split parts the combinations of adjectives into those for training and those held out for evaluation. Single
// adjectives are never held out: the model must have met each word.
func Split(seed uint64) (train, eval []Prompt) {
	all := Combinations()
	single, several := all[:NumAdjectives], all[NumAdjectives:]
	stream(seed, "split").Shuffle(len(several), func(i, j int) { several[i], several[j] = several[j], several[i] })
	return append(slices.Clone(single), several[heldOut:]...), several[:heldOut]
}

// orders returns every order of the adjectives of a combination.
func orders(p Prompt) []Prompt {
	if len(p) <= 1 {
		return []Prompt{p}
	}
	var all []Prompt
	for k, first := range p {
		for _, rest := range orders(slices.Delete(slices.Clone(p), k, k+1)) {
			all = append(all, append(Prompt{first}, rest...))
		}
	}
	return all
}

type textRow struct {
	Text string `json:"text"`
}

type demoRow struct {
	Prompt     string `json:"prompt"`
	Completion string `json:"completion"`
}

type promptRow struct {
	Prompt string `json:"prompt"`
}

// pretrainRows are the dabbler's recipes, every other one without its prompt.
func pretrainRows(train []Prompt, rng *rand.Rand) []textRow {
	rows := make([]textRow, PretrainRows)
	for i := range rows {
		p := shuffled(train, rng)
		text := Dabbler.Write(p, rng).Text()
		if i%2 == 0 {
			text = p.Text() + text
		}
		rows[i] = textRow{text}
	}
	return rows
}

// demonstrations are the cook's recipes.
func demonstrations(n int, from []Prompt, rng *rand.Rand) []demoRow {
	rows := make([]demoRow, n)
	for i := range rows {
		p := shuffled(from, rng)
		rows[i] = demoRow{p.Text(), DefaultCook.Write(p, rng).Text()}
	}
	return rows
}

// TrainPrompts returns the texts of every order of every training combination, shuffled.
func TrainPrompts(seed uint64) []string {
	train, _ := Split(seed)
	var texts []string
	for _, combination := range train {
		for _, p := range orders(combination) {
			texts = append(texts, p.Text())
		}
	}
	stream(seed, "train prompts").Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
	return texts
}

// EvalPrompts returns the texts of PromptsEvalRows held-out prompts: two orders of each held-out combination.
func EvalPrompts(seed uint64) []string {
	_, eval := Split(seed)
	rng := stream(seed, "eval prompts")
	var texts []string
	for _, combination := range eval {
		both := orders(combination)
		rng.Shuffle(len(both), func(i, j int) { both[i], both[j] = both[j], both[i] })
		for _, p := range both[:PromptsEvalRows/heldOut] {
			texts = append(texts, p.Text())
		}
	}
	return texts
}

// promptRows wraps texts as rows.
func promptRows(texts []string) []promptRow {
	rows := make([]promptRow, len(texts))
	for i, text := range texts {
		rows[i] = promptRow{text}
	}
	return rows
}

// WriteAll writes the files of the task and the folder of the model to pretrain into dir, which is made if it is not
// there. The same seed gives the same bytes.
func WriteAll(dir string, seed uint64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	train, eval := Split(seed)
	if err := writeRows(filepath.Join(dir, PretrainFile), pretrainRows(train, stream(seed, "pretrain"))); err != nil {
		return err
	}
	if err := writeRows(filepath.Join(dir, SFTFile), demonstrations(SFTRows, train, stream(seed, "sft"))); err != nil {
		return err
	}
	held := demonstrations(SFTEvalRows, eval, stream(seed, "sft eval"))
	if err := writeRows(filepath.Join(dir, SFTEvalFile), held); err != nil {
		return err
	}
	if err := writeRows(filepath.Join(dir, PromptsTrainFile), promptRows(TrainPrompts(seed))); err != nil {
		return err
	}
	if err := writeRows(filepath.Join(dir, PromptsEvalFile), promptRows(EvalPrompts(seed))); err != nil {
		return err
	}
	return WriteBaseConfig(filepath.Join(dir, BaseConfigDir))
}
