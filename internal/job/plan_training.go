package job

// What salsa plan counts of a network that learns: a forward pass that keeps what the way back needs, and the way back, on
// which gradients come as activations go.

import (
	"cmp"
	"slices"

	"salsa/models"
)

// learning is a network that learns, in the micro-batches of a run.
type learning struct {
	cfg           *models.Config
	role          PlanRole
	scores        bool // it has a scorer's head
	adapters      bool // alone learn
	checkpointing bool
}

// learns describes the plan's network in a role.
func (t *Training) learns(p *planner, role string, cfg *models.Config, scores bool) learning {
	at := slices.IndexFunc(p.Roles, func(r PlanRole) bool { return r.Role == role })
	return learning{cfg, p.Roles[at], scores, t.LoRARank > 0, t.GradientCheckpointing}
}

// moment is what is alive at some time of an update beside what stays between steps.
type moment []PlanItem

// worst is the moment of most bytes.
func worst(all ...moment) moment {
	return slices.MaxFunc(all, func(a, b moment) int { return cmp.Compare(sumOf(a), sumOf(b)) })
}

// tables are the bytes of the gradients of the head's and of the embedding's table; a tied one is one table, whose gradient
// comes in two parts.
func (p *planner) tables(l learning) (head, embedding int64) {
	table := int64(l.cfg.Vocab*l.cfg.Hidden) * p.elem
	switch {
	case l.adapters:
		return 0, 0
	case l.scores:
		return 0, table
	}
	return table, table
}

// training is the worst moment of the updates, with what is there beside them.
func (p *planner) training(l learning, b batches, beside ...PlanItem) moment {
	most := p.trainingOn(l, b.first, false)
	if b.later.tokens > 0 {
		most = worst(most, p.trainingOn(l, b.later, true))
	}
	return append(most, beside...)
}

// trainingOn is the worst moment of one micro-batch: where the head has its logits, where the gradients of the last layers
// are made and all others keep what they need, or at the way's end, where only the first layer is left and all gradients
// are there. If there are gradients of micro-batches before, all are there from the beginning, and each is made beside them.
func (p *planner) trainingOn(l learning, x line, later bool) moment {
	one, read := p.layerOf(l.cfg, x.t).adapted(p, l), min(x.read, x.tokens)
	d, inner := int64(l.cfg.Hidden)*p.elem, int64(l.cfg.Inner)*p.elem
	attention := 2 * int64((l.cfg.Heads+l.cfg.KVHeads)*l.cfg.HeadDim) * p.elem
	head, embedding := p.tables(l)
	weights := l.role.Gradients
	layer := (weights - embedding - head) / int64(l.cfg.Layers)
	if l.cfg.Tied && !l.scores {
		layer = (weights - embedding) / int64(l.cfg.Layers)
	}
	states := int64(l.cfg.Layers) * x.tokens * d // between layers: they stay until the pass is over
	kept, ends := (int64(l.cfg.Layers)-1)*one.kept(x)+p.keptLast(l.cfg, one, x), 2*read*d
	if l.checkpointing {
		kept = states + one.kept(x)
	}
	// A layer's way back makes the gradients of gate and up from the product's, whose place the product takes where it is made
	// again, or those of queries, keys and values from the attention's. Its forward pass has queries and keys before rotation
	// and the outputs of both halves.
	gates := 2*inner + 2*d
	if p.cpu && !l.adapters {
		gates += inner
	}
	work := max(x.tokens*gates, x.tokens*attention, one.made(x)-one.kept(x))
	if l.checkpointing {
		work = max(x.tokens*gates, one.made(x)-one.kept(x)+x.tokens*d)
	}
	there := head + layer
	if later {
		there = weights + max(head, layer)
	}
	back := moment{{"activations", kept + ends + work}, {"gradients", there}}
	logits := back
	if !l.scores {
		logits = moment{{"activations", kept + ends}, {"log-probabilities", p.head(l.cfg, read, true)}, {"gradients", there - layer}}
		if later {
			logits[2].Bytes = weights + head
		}
	}
	first, last := weights-layer, weights
	if l.scores || !l.cfg.Tied {
		first -= embedding
	} else {
		last += embedding
	}
	if later {
		first, last = weights+layer, weights+embedding
	}
	return worst(back, logits, moment{{"activations", states + ends + one.kept(x) + work}, {"gradients", first}},
		moment{{"activations", states + ends + 2*x.tokens*d}, {"gradients", last}})
}

// adapted counts what adapters add to a layer: what a map takes in, which is kept for them on the CPU too, the terms of a
// map's sum while it is made, and, as they learn in float32, a copy of what each map of a half-precision network takes in.
func (a layer) adapted(p *planner, l learning) layer {
	if !l.adapters {
		return a
	}
	d, inner, q := int64(l.cfg.Hidden), int64(l.cfg.Inner), int64(l.cfg.Heads*l.cfg.HeadDim)
	if p.cpu {
		a.saved, a.behind = a.saved+(2*d+inner)*p.elem, a.behind+(d+inner)*p.elem
		a.all += (2*d + inner - max(d, inner)) * p.elem
	}
	if p.elem != 4 {
		copies := 4 * (5*d + q + inner)
		a.saved, a.all = a.saved+copies, a.all+copies
	}
	a.all += 2 * 4 * inner
	return a
}

// keptLast is what the last layer keeps for the backward pass. Tokens that nobody reads are keys and values in it and
// nothing else, so the outputs of attention and all of the MLP are there for the others alone.
func (p *planner) keptLast(c *models.Config, one layer, x line) int64 {
	if x.read >= x.tokens {
		return one.kept(x)
	}
	return one.kept(x) - x.tokens*one.behind + x.read*(one.behind+int64(c.Heads*c.HeadDim)*p.elem)
}
