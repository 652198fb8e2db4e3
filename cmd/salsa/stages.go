package main

// What a recipe's stages can be. A new kind is one line in stageKinds.

import (
	"context"
	"fmt"
	"path/filepath"

	"salsa/internal/fault"
	"salsa/internal/job"
	"salsa/internal/options"
	"salsa/internal/recipe"
	"salsa/internal/runreport"
)

// stageKind is one kind of recipe stage.
type stageKind struct {
	version string     // raised when the same options would give other results
	options func() any // pointer to the kind's options struct, holding the defaults
	run     func(ctx context.Context, options any) error
}

// stageKinds maps the `kind:` of a recipe to what it does.
func stageKinds() map[string]stageKind {
	return map[string]stageKind{
		"sft":       kindOf("1", job.DefaultSFT, quietly(job.SFT)),
		"soup":      kindOf("1", job.DefaultSoup, quietly(job.Soup)),
		"reward":    kindOf("1", job.DefaultReward, quietly(job.Reward)),
		"ppo":       kindOf("1", job.DefaultPPO, quietly(job.PPO)),
		"apa":       kindOf("1", job.DefaultAPA, quietly(job.APA)),
		"rloo":      kindOf("1", job.DefaultRLOO, quietly(job.RLOO)),
		"grpo":      kindOf("1", job.DefaultGRPO, quietly(job.GRPO)),
		"xpo":       kindOf("1", job.DefaultXPO, quietly(job.XPO)),
		"inverse-q": kindOf("2", job.DefaultInverseQ, quietly(job.InverseQ)),
		"dpo":       kindOf("1", job.DefaultDPO, quietly(job.DPO)),
		"aihf":      kindOf("1", job.DefaultAIHF, quietly(job.AIHF)),
		"rso":       kindOf("1", job.DefaultRSO, quietly(job.RSO)),
		"can":       kindOf("1", job.DefaultCAN, quietly(job.CAN)),
		"eval":      kindOf("1", job.DefaultEval, quietly(job.Eval)),
		"select":    kindOf("1", job.DefaultSelect, quietly(job.Select)),
		"demo-data": kindOf("1", job.DefaultDemoData, quietly(job.DemoData)),
		"pairs":     kindOf("1", job.DefaultPairs, quietly(job.Pairs)),
		"report":    kindOf("2", runreport.Default, quietly(runreport.Write)),
		"compare":   kindOf("1", runreport.DefaultCompare, quietly(runreport.Compare)),
	}
}

// quietly leaves out a job's scalars: a stage's results are in its folder.
func quietly[T any](run func(context.Context, *T) (map[string]float64, error)) func(context.Context, *T) error {
	return func(ctx context.Context, o *T) error {
		_, err := run(ctx, o)
		return err
	}
}

// kindOf makes a stageKind out of a command's defaults and its run function.
func kindOf[T any](version string, defaults func() T, run func(ctx context.Context, o *T) error) stageKind {
	return stageKind{
		version: version,
		options: func() any { o := defaults(); return &o },
		run:     func(ctx context.Context, o any) error { return run(ctx, o.(*T)) },
	}
}

// defaultsOf is the form of stageKinds that package recipe takes.
func defaultsOf(kinds map[string]stageKind) map[string]func() any {
	out := make(map[string]func() any, len(kinds))
	for name, k := range kinds {
		out[name] = k.options
	}
	return out
}

// execStage does one stage; a stage that was cut off is told to resume, if its kind can.
func execStage(kinds map[string]stageKind) func(context.Context, *recipe.Stage, string) error {
	return func(ctx context.Context, s *recipe.Stage, _ string) error {
		k, ok := kinds[s.Kind]
		if !ok {
			return fmt.Errorf("kind %s has no code", s.Kind)
		}
		if c := options.Of(s.Options); s.Resume && c.Has("resume") {
			if err := c.Set("resume", "true", s.Where); err != nil {
				return err
			}
		}
		return job.Perform(ctx, s.Options, nil, func() error { return k.run(ctx, s.Options) })
	}
}

// checkProfiles refuses stages of which one's profile would take the place of another's.
func checkProfiles(plan *recipe.Plan) error {
	stages := map[string]string{}
	for _, s := range plan.Stages {
		dir, _ := options.Of(s.Options).Get("profile") // "" of a kind that has none too
		if dir == "" {
			continue
		}
		if other, taken := stages[filepath.Clean(dir)]; taken {
			return fault.Inputf("%s: stages %s and %s would write their profiles into the same folder %s; end it with /${seed} where a stage has seeds, or give one stage's with --set %s.profile=DIR",
				s.Where, other, s.Name, dir, s.Name)
		}
		stages[filepath.Clean(dir)] = s.Name
	}
	return nil
}

// checkBudgets refuses a stage whose memory budget is no size.
func checkBudgets(plan *recipe.Plan) error {
	for _, s := range plan.Stages {
		text, _ := options.Of(s.Options).Get("memory_budget") // "" of a kind that has none too
		if text == "" {
			continue
		}
		if _, err := job.ParseSize(text); err != nil {
			return fault.Inputf("%s: stage %s: %w", s.Where, s.Name, err)
		}
	}
	return nil
}
