package job

// Sampling from a model and judging what came: shared by eval, the sweep over α and the making of pairs.

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"salsa/data"
	"salsa/internal/demo"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/tensor"
	"salsa/trainers"
)

// Picking are the options of picking tokens.
type Picking struct {
	MaxNewTokens int     `yaml:"max_new_tokens" help:"longest completion; 0: 128 (chat: 512), or what a prompt leaves of the context if that is less" unit:"tokens" check:">=0"`
	Temperature  float64 `yaml:"temperature" help:"of sampling; 0 takes the most likely token" check:">=0"`
	TopK         int     `yaml:"top_k" help:"sample among the k most likely tokens; 0: all" check:">=0"`
	TopP         float64 `yaml:"top_p" help:"sample among the most likely tokens of this mass" check:">0,<=1"`
	MinP         float64 `yaml:"min_p" help:"sample among tokens at least this likely relative to the best; 0: all" check:">=0,<=1"`
}

// Drawing are the options of drawing one completion.
type Drawing struct {
	Picking
	Seed uint64 `yaml:"seed" help:"seed of the sampling"`
}

// Sampling are the options of drawing many completions.
type Sampling struct {
	Drawing
	BatchSize int `yaml:"batch_size" help:"sequences in flight" check:">=1,<=1000000"`
}

func defaultSampling() Sampling {
	return Sampling{Drawing: Drawing{Picking: Picking{Temperature: 1, TopP: 1}}, BatchSize: 32}
}

// usualTokens is how long a completion may get where --max-new-tokens does not say.
const usualTokens = 128

// room lowers the encoder's limit so that prompts leave the context room for a completion. Without --max-new-tokens a
// prompt may leave less than the usual length, unless it can be cut or dropped.
func (s *Sampling) room(enc *data.Encoder, cfg *models.Config) error {
	switch {
	case s.MaxNewTokens > 0:
		return leaveRoom(enc, cfg, s.MaxNewTokens)
	case enc.Overlong == data.OverlongError:
		return leaveRoom(enc, cfg, 1)
	default:
		return leaveRoom(enc, cfg, max(1, min(usualTokens, cfg.Context()/2)))
	}
}

// tellOfRoom says that prompts leave less of the context than the usual length of a completion.
func (s *Sampling) tellOfRoom(prompts []data.Prompt, cfg *models.Config, say bool) {
	short, least := 0, usualTokens
	for _, p := range prompts {
		if left := cfg.Context() - len(p.IDs); left < usualTokens {
			short, least = short+1, min(least, left)
		}
	}
	if say && short > 0 && s.MaxNewTokens == 0 {
		fmt.Fprintf(os.Stderr, "salsa: note: %d of %d prompts leave less than %d tokens of the context of %d, the longest %d; their completions end there, or at --max-new-tokens if you give it\n",
			short, len(prompts), usualTokens, cfg.Context(), least)
	}
}

// sampler returns how a token is to be picked.
func (p *Picking) sampler() tensor.Sampler {
	return tensor.Sampler{Temperature: p.Temperature, TopK: p.TopK, TopP: p.TopP, MinP: p.MinP}
}

// draw samples n completions for every prompt, prompt by prompt.
func (s *Sampling) draw(ctx context.Context, m models.Model, prompts [][]int, n int, stops []int, p *metrics.Progress) ([]models.Completion, error) {
	return models.Generate(ctx, m, prompts, s.options(n, stops, p))
}

// options are those of a generation of n completions for every prompt.
func (s *Sampling) options(n int, stops []int, p *metrics.Progress) models.GenOptions {
	opt := models.GenOptions{
		MaxNewTokens: cmp.Or(s.MaxNewTokens, usualTokens), NPerPrompt: n, Stop: stops, IgnoreEOS: true, Seed: s.Seed, BatchSize: s.BatchSize,
		Sampler: s.sampler(),
	}
	if p != nil {
		opt.OnToken = func(int, int, float32) { p.Tokens(1) }
		opt.Progress = func(done, _ int) { p.Step(done) }
	}
	return opt
}

// GoldTask is an exact score of the demo's task as a Rewarder.
type GoldTask struct {
	Decode func(ids []int) string
	Exact  func(prompt, completion string) (float64, error) // nil: demo.Gold
}

// goldNames are the exact scores by the names that options give them.
var goldNames = map[string]func(prompt, completion string) (float64, error){"salsa": demo.Gold, "salsa-safety": demo.Safety}

// goldTask returns the exact score of a name, which is none of goldNames only if there is to be none.
func goldTask(name string, enc *data.Encoder) trainers.Rewarder {
	if goldNames[name] == nil {
		return nil
	}
	return GoldTask{Exact: goldNames[name], Decode: func(ids []int) string { return completionText(enc, ids) }}
}

// Score implements trainers.Rewarder.
func (g GoldTask) Score(_ context.Context, prompts []data.Prompt, completions [][]int) ([]float64, error) {
	out, exact := make([]float64, len(prompts)), g.Exact
	if exact == nil {
		exact = demo.Gold
	}
	for i := range prompts {
		gold, err := exact(prompts[i].Row.Prompt, g.Decode(completions[i]))
		if err != nil {
			return nil, err
		}
		out[i] = gold
	}
	return out, nil
}

// promptIDs lists the ids of prompts.
func promptIDs(prompts []data.Prompt) [][]int {
	ids := make([][]int, len(prompts))
	for i := range prompts {
		ids[i] = prompts[i].IDs
	}
	return ids
}

// repeatPrompts lists each prompt n times in a row, as draw returns completions.
func repeatPrompts(prompts []data.Prompt, n int) []data.Prompt {
	out := make([]data.Prompt, 0, n*len(prompts))
	for _, p := range prompts {
		for range n {
			out = append(out, p)
		}
	}
	return out
}

// judges are what samples are measured with.
type judges struct {
	reward trainers.Rewarder // nil: none
	gold   trainers.Rewarder // nil: none
	safety trainers.Rewarder // nil: none
	refs   []trainers.Watched
	micro  int
}

// judged are the measures of one model's samples, each one per sample.
type judged struct {
	Reward []float64 `json:"reward,omitempty"`
	Gold   []float64 `json:"gold,omitempty"`
	Safety []float64 `json:"safety,omitempty"`

	Members map[string]float64   `json:"reward_members,omitempty"` // of an ensemble: means, see trainers.Ensemble
	Length  []int                `json:"length"`
	Ended   []bool               `json:"ended"`
	KL      map[string][]float64 `json:"kl,omitempty"` // by reference: Σ_t k1, the log-ratio of the whole completion
	Text    []string             `json:"text,omitempty"`
}

// judge measures completions that m drew at the given temperature.
func (j *judges) judge(ctx context.Context, m models.Model, prompts []data.Prompt, drawn []models.Completion, temperature float64) (*judged, error) {
	out := &judged{KL: map[string][]float64{}}
	ids := make([][]int, len(drawn))
	for i, c := range drawn {
		ids[i] = c.IDs
		out.Length, out.Ended = append(out.Length, len(c.IDs)), append(out.Ended, c.Stopped)
	}
	for _, by := range []struct {
		judge trainers.Rewarder
		into  *[]float64
	}{{j.reward, &out.Reward}, {j.gold, &out.Gold}, {j.safety, &out.Safety}} {
		if by.judge == nil {
			continue
		}
		scores, err := by.judge.Score(ctx, prompts, ids)
		if err != nil {
			return nil, err
		}
		*by.into = scores
	}
	if e, ok := j.reward.(*trainers.Ensemble); ok {
		out.Members = e.Scalars()
	}
	if len(j.refs) == 0 {
		return out, nil
	}
	if temperature == 0 {
		temperature = 1 // a greedy choice has no distribution; measure the model's own
	}
	own, err := trainers.SequenceLogProbs(ctx, m, prompts, ids, temperature, j.micro)
	if err != nil {
		return nil, err
	}
	for _, ref := range j.refs {
		other, err := trainers.SequenceLogProbs(ctx, ref.Model, prompts, ids, temperature, j.micro)
		if err != nil {
			return nil, err
		}
		kl := make([]float64, len(own))
		for i := range own {
			kl[i] = own[i] - other[i]
		}
		out.KL[ref.Name] = kl
	}
	return out, nil
}
