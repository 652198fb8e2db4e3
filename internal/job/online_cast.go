package job

// The networks of an online run beside its policy. With adapters they share the policy's weights, of which a run then
// holds one copy.

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/trainers"
)

// frozen loads a model that does not learn. Where it is the policy before its adapters, it is a view of the policy's
// own weights.
func (o *onlineJob) frozen(dir string, policy models.Model, opt models.Options) (models.Model, error) {
	if models.Adapted(policy) && !models.IsAdapter(dir) && o.overTrunk(dir) {
		return models.Twin(policy), nil
	}
	return models.Load(dir, opt)
}

// overTrunk tells whether a folder is, or is an adapter of, the model whose weights the policy's adapters lie on.
func (o *onlineJob) overTrunk(dir string) bool {
	a, errA := models.BaseOf(dir)
	b, errB := models.BaseOf(o.Model)
	if errA != nil || errB != nil {
		return false // loading it says why
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// loadReference loads the reference of the KL penalty: a model, or the members of several.
func (o *onlineJob) loadReference(cast *trainers.Cast, opt models.Options) (err error) {
	switch {
	case o.set.MKL:
		for i, dir := range o.ref.Dirs {
			m, err := o.frozen(dir, cast.Policy, opt)
			if err != nil {
				return err
			}
			cast.Members = append(cast.Members, trainers.Member{Model: m, Weight: o.ref.Weights[i]})
		}
	case len(o.ref.Dirs) == 1:
		cast.Reference, err = o.frozen(o.ref.Dirs[0], cast.Policy, opt)
	default:
		cast.Reference, err = o.ref.Load(opt)
	}
	return err
}

// scoreAdapter returns the adapter of a scorer over the policy's trunk: dir, or the one that a finished run keeps
// beside its merged model; "" if there is none.
func (o *onlineJob) scoreAdapter(dir string) string {
	for _, at := range []string{dir, filepath.Join(dir, trainers.AdapterDir)} {
		if !models.IsAdapter(at) || !o.overTrunk(at) {
			continue
		}
		if c, err := models.ReadConfig(at); err == nil && c.Scores {
			return at
		}
	}
	return ""
}

// valueStart is the model that the value network starts from.
func (o *onlineJob) valueStart() (soup.Expr, error) {
	if o.value != "" {
		return soup.Expr{Dirs: []string{o.value}}, nil
	}
	if o.scorer.gold != "" {
		return soup.Expr{}, fault.Inputf("--reward-model %s has no weights that the value network could start from; give --value-model", o.reward)
	}
	return o.scorer.single(), nil
}

// loadValue loads the value network; beside adapters it consists of adapters and a head over the policy's own weights.
func (o *onlineJob) loadValue(policy models.Model, opt models.Options) (*models.Scorer, error) {
	start, err := o.valueStart()
	if err != nil {
		return nil, err
	}
	if !models.Adapted(policy) {
		return start.LoadScorer(o.trained(opt))
	}
	base, err := models.BaseOf(o.Model)
	if err != nil {
		return nil, err
	}
	from := ""
	if len(start.Dirs) == 1 {
		from = o.scoreAdapter(start.Dirs[0])
	}
	if from == "" && o.value != "" {
		return nil, fault.Inputf("--value-model %s: with --lora-rank the value network is an adapter of %s; give one from salsa reward --lora-rank on that model, or leave the option out", o.value, base)
	}
	s, err := models.ScorerOf(models.Twin(policy), o.set.Seed, o.trained(opt))
	if err != nil {
		return nil, err
	}
	if from != "" {
		return s, models.LoadAdapter(from, base, s)
	}
	if !o.Quiet {
		fmt.Fprintf(os.Stderr, "salsa: the reward model is no adapter of %s, so the value network starts with a fresh adapter and head; --critic-warmup gives it time\n", base)
	}
	fresh := o.LoRA
	return s, fresh.adapt(s, base, o.set.Seed+1) // other values than the policy's
}

// loadReward loads a reward model or a soup of several; an adapter of the policy's trunk is laid over the policy's own
// weights.
func (o *onlineJob) loadReward(e soup.Expr, policy models.Model, opt models.Options) (*models.Scorer, error) {
	dir := e.Dirs[0]
	if len(e.Dirs) > 1 || !models.Adapted(policy) || !models.IsAdapter(dir) || !o.overTrunk(dir) {
		return e.LoadScorer(opt)
	}
	base, err := models.BaseOf(dir)
	if err != nil {
		return nil, err
	}
	s, err := models.ScorerOf(models.Twin(policy), o.set.Seed, opt)
	if err != nil {
		return nil, err
	}
	return s, models.LoadAdapter(dir, base, s)
}

// watchedDir is a model of which the KL is logged beside the reference's, under this name.
type watchedDir struct{ name, dir string }

// watchList lists them, each name once.
func (o *onlineJob) watchList() (list []watchedDir) {
	add := func(name, dir string) {
		known := slices.ContainsFunc(list, func(w watchedDir) bool { return w.name == name })
		if !known { // else a soup member that is watched anyway
			list = append(list, watchedDir{name, dir})
		}
	}
	if o.WatchKL {
		add("start", o.Model)
	}
	if names := o.ref.Names(); o.WatchKL && len(names) > 1 {
		for i, dir := range o.ref.Dirs {
			add(names[i], dir)
		}
	}
	for _, dir := range o.WatchModels {
		add(filepath.Base(filepath.Clean(dir)), dir)
	}
	return list
}

// referenceCopies lists the folders whose models are in memory as they are, as reference or its members.
func (o *onlineJob) referenceCopies() []string {
	if o.set.MKL || len(o.ref.Dirs) == 1 && o.set.RefEvery == 0 {
		return o.ref.Dirs
	}
	return nil
}

// watched loads the models whose KL is logged beside the reference's.
func (o *onlineJob) watched(opt models.Options, cast *trainers.Cast) (list []trainers.Watched, err error) {
	loaded := map[string]models.Model{} // one copy of each folder, however many names it has
	for i, dir := range o.referenceCopies() {
		if loaded[dir] = cast.Reference; o.set.MKL {
			loaded[dir] = cast.Members[i].Model
		}
	}
	for _, w := range o.watchList() {
		if loaded[w.dir] == nil {
			if loaded[w.dir], err = o.frozen(w.dir, cast.Policy, opt); err != nil {
				return nil, err
			}
		}
		list = append(list, trainers.Watched{Name: w.name, Model: loaded[w.dir]})
	}
	return list, nil
}
