package job

// salsa inverse-q: token-level credit from a guide, with no reward model.

import (
	"cmp"
	"context"
	"math"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/soup"
	"salsa/trainers"
)

// InverseQOptions are the options of `salsa inverse-q`.
type InverseQOptions struct {
	Online
	Guide                    string `yaml:"guide" arg:"DIR[,DIR...][@w,w...]" help:"model that stands for the optimal policy, a soup if several; empty: --reference itself, which then needs --strategy"`
	Strategy                 string `yaml:"strategy" arg:"TEXT" help:"put before the prompt that the guide sees, so that the same weights answer better: advice, an example, a stricter instruction"`
	RewardModel              string `yaml:"reward_model" arg:"DIR" help:"reward model whose scores are logged; nothing learns from them"`
	trainers.InverseQOptions `group:"Inverse-Q*"`
}

// DefaultInverseQ returns the defaults.
func DefaultInverseQ() InverseQOptions {
	return InverseQOptions{Online: defaultOnline(), InverseQOptions: trainers.DefaultInverseQ()}
}

// InputPaths lists the folders inside the expressions.
func (o *InverseQOptions) InputPaths() []string {
	paths := append(o.Online.InputPaths(), rewardDirs(o.RewardModel)...)
	if o.Guide != "" {
		paths = append(paths, memberDirs(o.Guide)...)
	}
	return paths
}

// Validate checks what the tags cannot.
func (o *InverseQOptions) Validate() error {
	if err := o.InverseQOptions.Validate(); err != nil {
		return err
	}
	if o.Guide == "" && o.Strategy == "" {
		return fault.Inputf("a guide that sees and is what the reference is gives no credit; give --guide DIR, a better model of the same vocabulary, or --strategy TEXT, which makes the reference answer better")
	}
	if o.Guide != "" {
		if _, err := soup.ParseExpr(o.Guide, o.Extrapolate); err != nil {
			return err
		}
	}
	return o.checkInputs()
}

// job is the run that the options describe.
func (o *InverseQOptions) job() (j *onlineJob, err error) {
	j = &onlineJob{Online: &o.Online, set: &o.InverseQOptions.OnlineOptions, name: "inverse-q", opts: o, reward: o.RewardModel, advice: o.Strategy}
	if o.Guide != "" {
		j.guide, err = soup.ParseExpr(o.Guide, o.Extrapolate)
	}
	return j, err
}

// InverseQ runs the job.
func InverseQ(ctx context.Context, o *InverseQOptions) (map[string]float64, error) {
	j, err := o.job()
	if err != nil {
		return nil, err
	}
	var seen map[*data.Row]data.Prompt // as the guide sees them
	if o.Strategy != "" {
		j.source = func() (prompts []data.Prompt, err error) {
			if prompts, err = j.given(); err == nil {
				seen, err = o.advised(j.enc, prompts, cmp.Or(o.Guide, o.Reference))
			}
			return prompts, err
		}
	}
	return j.run(ctx, func(s stage) (onlineTrainer, error) {
		g := trainers.Guide{Model: s.cast.Reference}
		if o.Guide != "" {
			var err error
			if g.Model, err = j.guide.Load(s.options); err != nil {
				return nil, err
			}
		}
		if o.Strategy != "" {
			g.Prompt = func(p data.Prompt) data.Prompt { return seen[p.Row] }
		}
		return trainers.NewInverseQ(s.cast, g, s.prompts, o.InverseQOptions, s.log, s.save)
	})
}

// advised encodes every prompt as the guide sees it, with the strategy before the text or the last user's message, and
// refuses those that leave the guide, an expression of folders, no room for an answer: advice is never cut.
func (o *InverseQOptions) advised(enc *data.Encoder, prompts []data.Prompt, guide string) (map[*data.Row]data.Prompt, error) {
	whole := *enc
	whole.MaxLength, whole.Room = math.MaxInt, 0
	if err := leaveRoomIn(&whole, o.MaxNewTokens, memberDirs(guide)...); err != nil {
		return nil, err
	}
	limit := whole.MaxLength
	whole.MaxLength = 0
	seen := map[*data.Row]data.Prompt{}
	for i := range prompts {
		row, err := advise(prompts[i].Row, o.Strategy)
		if err != nil {
			return nil, err
		}
		p, err := whole.Prompt(row)
		if err != nil {
			return nil, err
		}
		if len(p.IDs) > limit {
			return nil, fault.Inputf("%s: with --strategy the prompt has %d tokens, and with --max-new-tokens %d it leaves the guide's context of %d; shorten one", prompts[i].Row.At(), len(p.IDs), o.MaxNewTokens, limit+o.MaxNewTokens)
		}
		seen[prompts[i].Row] = p
	}
	return seen, nil
}

// advise returns a copy of a row with advice before what is asked.
func advise(row *data.Row, advice string) (*data.Row, error) {
	changed := *row
	switch {
	case len(row.PromptIDs) > 0:
		return nil, fault.Inputf("%s: the prompt is given as ids, and --strategy is text; give the prompt as text", row.At())
	case len(row.Messages) > 0:
		changed.Messages = append([]data.Message{}, row.Messages...)
		for i := len(changed.Messages) - 1; i >= 0; i-- {
			if changed.Messages[i].Role == "user" {
				changed.Messages[i].Content = advice + changed.Messages[i].Content
				return &changed, nil
			}
		}
		return nil, fault.Inputf("%s: no message of a user that --strategy could stand before", row.At())
	default:
		changed.Prompt = advice + row.Prompt
	}
	return &changed, nil
}
