package job

// Training by low-rank adapters: the options, and the networks that they ask for.

import (
	"cmp"

	"salsa/internal/fault"
	"salsa/models"
)

// LoRA are the options of low-rank adapters.
type LoRA struct {
	LoRARank    int      `yaml:"lora_rank" help:"train low-rank adapters of this rank and freeze the weights; 0: train all weights. The finished run has the whole model at its top and the adapter, as PEFT keeps it, in adapter" check:">=0"`
	LoRAAlpha   float64  `yaml:"lora_alpha" help:"an adapter's change is scaled by alpha/rank; 0: twice the rank" check:">=0"`
	LoRADropout float64  `yaml:"lora_dropout" help:"share of an adapter's input that is zeroed in training" check:">=0,<1"`
	LoRATargets []string `yaml:"lora_targets" arg:"NAMES" help:"linear maps that get adapters, such as q_proj,v_proj; empty: all in the layers"`
}

// check refuses settings of adapters where none are asked for.
func (l *LoRA) check() error {
	if l.LoRARank == 0 && (l.LoRAAlpha != 0 || l.LoRADropout != 0 || len(l.LoRATargets) > 0) {
		return fault.Inputf("--lora-alpha, --lora-dropout and --lora-targets have no effect without --lora-rank; add --lora-rank 16, or leave them out")
	}
	return nil
}

// baseFile, in a run folder, tells the frozen weights of a run by adapters, which its checkpoints lack.
const baseFile = "base.json"

// trunk is the folder whose weights a run loads: with adapters that go on from those of a PEFT folder it is the base.
func (l *LoRA) trunk(dir string) (string, error) {
	if l.LoRARank == 0 {
		return dir, nil
	}
	return models.BaseOf(dir)
}

// config is the adapters' config over the model in dir, or that of dir's own adapters.
func (l *LoRA) config(dir string, seed uint64) (models.AdapterConfig, error) {
	c := models.AdapterConfig{Rank: l.LoRARank, Alpha: cmp.Or(l.LoRAAlpha, float64(2*l.LoRARank)), Dropout: l.LoRADropout,
		Targets: l.LoRATargets, Seed: seed, Base: dir}
	if !models.IsAdapter(dir) {
		return c, nil
	}
	own, err := models.AdapterOf(dir)
	switch {
	case err != nil:
		return c, err
	case own.Rank != l.LoRARank:
		return c, fault.Inputf("--lora-rank %d: the adapter in %s has rank %d; give that to go on with it, or 0 to train its merged weights", l.LoRARank, dir, own.Rank)
	case l.LoRAAlpha != 0 && l.LoRAAlpha != own.Alpha:
		return c, fault.Inputf("--lora-alpha %g: the adapter in %s has alpha %g; leave the option out to go on with it", l.LoRAAlpha, dir, own.Alpha)
	case len(l.LoRATargets) > 0:
		return c, fault.Inputf("--lora-targets: the adapter in %s has its own; leave the option out to go on with it", dir)
	}
	own.Dropout, own.Seed = l.LoRADropout, seed
	own.Base, err = models.BaseOf(dir)
	return own, err
}

// adapt puts the adapters that l asks for on m, which was loaded from trunk(dir).
func (l *LoRA) adapt(m models.Model, dir string, seed uint64) error {
	if l.LoRARank == 0 {
		return nil
	}
	c, err := l.config(dir, seed)
	if err != nil {
		return err
	}
	if err := models.Adapt(m, c); err != nil || !models.IsAdapter(dir) {
		return err
	}
	return models.LoadAdapter(dir, c.Base, m)
}

// model loads a language model that is to be trained.
func (t *Training) model(dir string, seed uint64, opt models.Options) (models.Model, error) {
	trunk, err := t.trunk(dir)
	if err != nil {
		return nil, err
	}
	m, err := models.Load(trunk, t.trained(opt))
	if err != nil {
		return nil, err
	}
	return m, t.adapt(m, dir, seed)
}

// scorer loads a reward model that is to be trained, or puts a fresh head on a language model.
func (t *Training) scorer(dir string, seed uint64, opt models.Options) (*models.Scorer, error) {
	trunk, err := t.trunk(dir)
	if err != nil {
		return nil, err
	}
	cfg, err := models.ReadConfig(trunk)
	if err != nil {
		return nil, err
	}
	s, err := startScorer(trunk, cfg, seed, t.trained(opt))
	if err != nil {
		return nil, err
	}
	return s, t.adapt(s, dir, seed)
}
