package job

// salsa inverse-q: token-level credit from a guide, with no reward model.

import (
	"context"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
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

// InverseQ runs the job.
func InverseQ(ctx context.Context, o *InverseQOptions) (map[string]float64, error) {
	j := &onlineJob{Online: &o.Online, set: &o.InverseQOptions.OnlineOptions, name: "inverse-q", opts: o, reward: o.RewardModel}
	var guide soup.Expr
	if o.Guide != "" {
		var err error
		if guide, err = soup.ParseExpr(o.Guide, o.Extrapolate); err != nil {
			return nil, err
		}
		if err := checkReference(guide, o.Model); err != nil {
			return nil, err
		}
	}
	return j.run(ctx, func(s stage) (onlineTrainer, error) {
		g := trainers.Guide{Model: s.cast.Reference}
		if o.Guide != "" {
			var err error
			if g.Model, err = guide.Load(s.options); err != nil {
				return nil, err
			}
		}
		if o.Strategy != "" {
			prompt, err := o.advised(j.enc, s.prompts, g.Model.Config())
			if err != nil {
				return nil, err
			}
			g.Prompt = prompt
		}
		return trainers.NewInverseQ(s.cast, g, s.prompts, o.InverseQOptions, s.log, s.save)
	})
}

// advised encodes every prompt as the guide sees it, with the strategy before the text or the last user's message, and
// refuses those that leave no room for an answer.
func (o *InverseQOptions) advised(enc *data.Encoder, prompts []data.Prompt, cfg *models.Config) (func(data.Prompt) data.Prompt, error) {
	seen := map[*data.Row]data.Prompt{}
	for i := range prompts {
		row, err := advise(prompts[i].Row, o.Strategy)
		if err != nil {
			return nil, err
		}
		p, err := enc.Prompt(row)
		if err != nil {
			return nil, err
		}
		if len(p.IDs)+o.MaxNewTokens > cfg.Context() {
			return nil, fault.Inputf("%s: with --strategy the prompt has %d tokens, and with --max-new-tokens %d it leaves the context of %d; shorten one", prompts[i].Row.At(), len(p.IDs), o.MaxNewTokens, cfg.Context())
		}
		seen[prompts[i].Row] = p
	}
	return func(p data.Prompt) data.Prompt { return seen[p.Row] }, nil
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
