package models

// Reward models and value functions: a decoder with a head of one output.

import (
	"math"

	"salsa/internal/fault"
	"salsa/internal/profile"
	"salsa/nn"
	"salsa/tensor"
)

// Scorer is a …ForSequenceClassification model with one label: a reward model, read at a row's last token, or
// a value function, read at every token. It has no language-model head: Logits and HeadWeight panic, unless
// the embedding is tied to one.
type Scorer struct {
	Model `hf:",inline"`
	Head  *nn.Linear `hf:"score"` // weight [1, D], no bias
}

func newScorer(trunk Model) *Scorer {
	return &Scorer{Model: trunk, Head: nn.NewLinear(trunk.Config().Hidden, 1, false)}
}

// LoadScorer reads a …ForSequenceClassification folder; see Load for memory and scope.
func LoadScorer(dir string, opt Options) (*Scorer, error) {
	defer profile.Begin(profile.Load).End()
	c, err := openKind(dir, ScoringModel, opt.Base)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	d := newDecoder(c.Config)
	d.checkpoint = opt.Checkpoint
	s := newScorer(d)
	opt = opt.or(c.DType())
	return s, fill(s, c.reader(opt.DType), opt)
}

// NewScorer takes the decoder of a language model's folder and gives it a random head, normal with variance
// 1/(D+1) (Stiennon et al., arXiv 2009.01325, app. B).
func NewScorer(dir string, seed uint64, opt Options) (*Scorer, error) {
	c, err := openOver(dir, opt.Base)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if c.Config.Scores {
		return nil, fault.Inputf("%s: has a score head already; give a %s%s folder, or load it as it is", dir, c.Config.Family, causalSuffix)
	}
	d := newDecoder(scorerConfig(c.Config))
	d.checkpoint = opt.Checkpoint
	s := newScorer(d)
	draw := drawer(s, headStd(s), seed)
	opt = opt.or(c.DType())
	return s, fill(s, func(name string) (tensor.Tensor, error) {
		if name == "score.weight" {
			return draw(name)
		}
		return c.readAs(name, opt.DType)
	}, opt)
}

// ScorerOf puts a random head on a live model. The decoder's weights are shared with m, and so are its adapters if it
// has any: give Twin(m) for a scorer with adapters of its own.
func ScorerOf(m Model, seed uint64, opt Options) (*Scorer, error) {
	trunk, ok := m.(*decoder)
	if !ok {
		return nil, fault.Inputf("%s: has a score head already; give a language model", m.Config().path)
	}
	d := *trunk
	d.cfg, d.Head, d.adapter = scorerConfig(trunk.cfg), nil, nil
	s := newScorer(&d)
	head := &struct {
		Score *nn.Linear `hf:"score"`
	}{s.Head}
	return s, fill(head, drawer(head, headStd(s), seed), opt.or(d.Trunk.Embed.Weight.DType()))
}

func headStd(s *Scorer) float64 { return 1 / math.Sqrt(float64(s.Head.In+1)) }

func scorerConfig(c *Config) *Config {
	c = c.clone()
	c.Scores = true
	if name := families[c.Family].scorer; name != "" {
		c.Family = name
	}
	return c
}

// SetScale makes the scorer return gain·s + bias, on top of nothing: it replaces what was set before. Save
// keeps both in config.json.
func (s *Scorer) SetScale(gain, bias float64) {
	s.Config().ScoreGain, s.Config().ScoreBias = gain, bias
}

// Score maps states [..., D] to fp32 scores [...]. The head is computed in fp32 whatever the weights' dtype.
func (s *Scorer) Score(h tensor.Tensor) tensor.Tensor {
	y := h.To(tensor.Float32).Linear(s.Head.Effective().To(tensor.Float32), tensor.Tensor{}).Squeeze(-1) // [...]
	c := s.Config()
	if c.ScoreGain != 1 {
		y = y.MulScalar(c.ScoreGain)
	}
	if c.ScoreBias != 0 {
		y = y.AddScalar(c.ScoreBias)
	}
	return y
}

// Values returns the score at every token, [B, T] fp32.
func (s *Scorer) Values(in Input, kv *Cache) tensor.Tensor { return s.Score(s.Hidden(in, kv)) }

// ValuesAt returns the score at the places b·T + t of at [N] int64: [N] fp32.
func (s *Scorer) ValuesAt(in Input, at tensor.Tensor) tensor.Tensor {
	return s.Score(s.HiddenAt(in, at))
}

// Recomputes tells whether the scorer keeps no activations for its backward pass: then a graph must be walked back through
// before the scope that it was made in ends.
func Recomputes(s *Scorer) bool {
	d, ok := s.Model.(*decoder)
	return !ok || d.checkpoint
}

// Rewards returns the score at each row's last token, [B] fp32. The last token is told by in.Lens, never by
// comparing ids with a padding id.
func (s *Scorer) Rewards(in Input) tensor.Tensor { return s.ValuesAt(in, lastTokens(in)) }

// lastTokens returns the place b·T + t of each row's last token, [B] int64.
func lastTokens(in Input) tensor.Tensor {
	t := in.IDs.Dim(1)
	index := make([]int, 0, in.IDs.Dim(0))
	for b, n := range in.lens() {
		if n == 0 {
			panic(&tensor.Error{Op: "last token", Shapes: [][]int{in.IDs.Shape()}, Msg: "a row is empty"})
		}
		index = append(index, b*t+in.start(b)+n-1)
	}
	return tensor.Ints(index, len(index))
}
