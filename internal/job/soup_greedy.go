package job

// The greedy soup: members join by a held-out metric.

import (
	"context"
	"fmt"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
	"salsa/trainers"
)

const greedyFile = "greedy.json"

// greedyResult is greedy.json.
type greedyResult struct {
	Members []string          `json:"members"`
	Metric  string            `json:"metric"` // in steps a loss has its sign turned: higher is better
	Strict  bool              `json:"strict"`
	Kept    []int             `json:"kept"` // places in members
	Steps   []soup.GreedyStep `json:"steps"`
}

// checkGreedy opens what greedy measures with, by its headers.
func (o *SoupOptions) checkGreedy() error {
	cfg, err := models.ReadConfig(o.Members[0])
	if err != nil {
		return err
	}
	switch {
	case cfg.Scores && o.GreedyMetric != "accuracy":
		return fault.Inputf("--greedy-metric %s is one of language models, and %s is a reward model; choose accuracy", o.GreedyMetric, o.Members[0])
	case cfg.Scores:
		return nil
	case o.GreedyMetric == "accuracy":
		return fault.Inputf("--greedy-metric accuracy is one of reward models, and %s is a language model; choose loss, reward or gold", o.Members[0])
	case o.GreedyMetric == "reward" && o.RewardModel == "":
		return fault.Inputf("--greedy-metric reward needs --reward-model: the folder of a reward model")
	case o.GreedyMetric == "gold" && o.Gold == "none":
		return fault.Inputf("--greedy-metric gold needs --gold: the exact reward to measure")
	}
	return o.checkMeasures()
}

// greedy measures every member and the soups on the way, and returns the shares of those that are kept.
func (o *SoupOptions) greedy(ctx context.Context, members *soup.Members, opt models.Options, scalars map[string]float64) ([]float64, error) {
	measure, err := o.greedyMeasure(ctx, members, opt)
	if err != nil {
		return nil, err
	}
	n := len(o.Members)
	bar, done := o.progress("greedy", 2*n-1), 0
	defer bar.done()
	count := func(list []int) (float64, error) {
		v, err := measure(list)
		done++
		bar.step(done)
		return v, err
	}
	alone := make([]float64, n)
	for k := range alone {
		if alone[k], err = count([]int{k}); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Members[k], err)
		}
	}
	kept, steps, err := soup.Greedy(alone, o.GreedyStrict, count)
	if err != nil {
		return nil, err
	}
	bar.done()
	last := steps[0]
	for _, s := range steps {
		if s.Kept {
			last = s
		}
	}
	scalars["greedy_members"], scalars["greedy_"+o.GreedyMetric] = float64(len(kept)), o.signed(last.Mixed)
	return soup.Among(n, kept), o.keep(greedyFile, greedyResult{o.Members, o.GreedyMetric, o.GreedyStrict, kept, steps})
}

// signed turns a loss into a metric of which more is better, and back.
func (o *SoupOptions) signed(v float64) float64 {
	if o.GreedyMetric == "loss" {
		return -v
	}
	return v
}

// greedyMeasure returns the function that measures the uniform soup of some members.
func (o *SoupOptions) greedyMeasure(ctx context.Context, members *soup.Members, opt models.Options) (func([]int) (float64, error), error) {
	n := len(o.Members)
	if o.GreedyMetric == "accuracy" {
		pairs, err := o.pairs()
		return func(list []int) (float64, error) {
			return o.pairAccuracy(ctx, members, soup.Linear(soup.Fixed(soup.Among(n, list)...)), pairs, opt)
		}, err
	}
	s, err := o.newSweeper(opt)
	return func(list []int) (float64, error) {
		got, err := s.at(ctx, members, soup.Linear(soup.Fixed(soup.Among(n, list)...)))
		if err != nil {
			return 0, err
		}
		return o.signed(*map[string]*float64{"loss": got.Loss, "reward": got.Reward, "gold": got.Gold}[o.GreedyMetric]), nil
	}, err
}

// pairs reads the preference pairs that reward models are measured on.
func (o *SoupOptions) pairs() ([]data.Pair, error) {
	cfg, err := models.ReadConfig(o.Members[0])
	if err != nil {
		return nil, err
	}
	enc, err := newEncoder(o.Members[0], cfg, 0, "drop")
	if err != nil {
		return nil, err
	}
	rows, err := o.rows()
	if err != nil {
		return nil, err
	}
	return encode(rows, "pairs", !o.Quiet, enc.Pair)
}

// pairAccuracy is the share of pairs that a soup of reward models orders rightly, measured as `salsa reward` does.
func (o *SoupOptions) pairAccuracy(ctx context.Context, members *soup.Members, r soup.Recipe, pairs []data.Pair, opt models.Options) (accuracy float64, err error) {
	return accuracy, tensor.Scope(func() error {
		s, err := models.LoadScorer(o.Members[0], opt)
		if err != nil {
			return err
		}
		if err := members.Mix(s, r); err != nil {
			return err
		}
		how := trainers.DefaultReward()
		how.BatchSize = o.BatchSize
		t, err := trainers.NewReward(s, pairs, pairs, how, nil)
		if err != nil {
			return err
		}
		got, err := t.Finish(ctx)
		accuracy = got["eval_accuracy"]
		return err
	})
}
