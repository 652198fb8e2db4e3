package job

// What salsa inspect prints.

import (
	"fmt"
	"io"
	"strings"
)

// WriteText implements Shown: the facts, then a line for each tensor and file.
func (r *Inspection) WriteText(w io.Writer) error {
	err := table(w, func(row func(string, ...any)) {
		row("folder\t%s", r.Dir)
		if r.Model != nil {
			r.Model.rows(row)
		}
		if r.Run != nil {
			r.Run.rows(row)
		}
		switch {
		case r.Intact == nil:
		case *r.Intact:
			row("manifest\tall files are as they were written")
		default:
			row("manifest\tDAMAGED: %s", r.Damage)
		}
	})
	if err != nil || r.Model == nil && r.Files == nil {
		return err
	}
	return table(w, func(row func(string, ...any)) {
		if r.Model != nil {
			row("\n%d tensors", len(r.Model.Tensors))
			for _, t := range r.Model.Tensors {
				row("%s\t%s\t%v\t%s\t%s", t.Name, t.DType, t.Shape, humanBytes(t.Bytes), t.File)
			}
		}
		if r.Files != nil {
			row("\n%d files", len(r.Files))
		}
		for _, f := range r.Files {
			row("%s\t%s\t%s", f.Name, humanBytes(f.Bytes), f.SHA256)
		}
	})
}

func (m *ModelFacts) rows(row func(string, ...any)) {
	c := m.Config
	row("architecture\t%s", m.Architecture)
	row("sizes\t%d ids, %d layers of width %d, MLP %d (%s), %d heads of %d over %d key-value heads",
		c.Vocab, c.Layers, c.Hidden, c.Inner, c.Activation, c.Heads, c.HeadDim, c.KVHeads)
	stretch := ""
	if c.RopeFactor > 0 {
		stretch = fmt.Sprintf(", factor %g", c.RopeFactor)
	}
	row("context\t%d tokens, rope %s (theta %g%s)", c.Context, c.Rope, c.RopeTheta, stretch)
	if c.Windowed > 0 {
		row("window\t%d tokens in %d of %d layers", c.Window, c.Windowed, c.Layers)
	} else {
		row("window\tnone")
	}
	if c.AttentionSoftcap > 0 || c.FinalSoftcap > 0 {
		row("soft caps\tattention %g, logits %g", c.AttentionSoftcap, c.FinalSoftcap)
	}
	var list []string
	for _, p := range m.Parts {
		list = append(list, p.Part+" "+humanCount(p.Parameters))
	}
	if c.Tied {
		list = append(list, "the head is the embedding")
	}
	row("parameters\t%s: %s", humanCount(m.Parameters), strings.Join(list, ", "))
	if a := m.Adapter; a != nil {
		row("adapter\trank %d, alpha %g, on %d linear maps, %s parameters, over %s", a.Rank, a.Alpha, a.Maps, humanCount(a.Parameters), a.Base)
	}
	if m.HasWeights {
		row("weights\t%s", humanBytes(m.Stored))
	} else {
		row("weights\tnone here; the list below is what config.json calls for")
	}
	row("stop ids\t%s", m.stops())
	if m.Tokenizer == nil {
		row("tokenizer\tnone")
	} else {
		row("tokenizer\t%s, %d ids, SHA-256 %s", m.Tokenizer.Kind, m.Tokenizer.Size, m.Tokenizer.Hash)
	}
	if m.Template == "" {
		row("chat template\tno")
	} else {
		row("chat template\tyes, SHA-256 %s", m.Template)
	}
	switch m.Trained {
	case "":
	case m.Template:
		row("trained with\tthat chat template")
	default:
		row("trained with\tANOTHER chat template, SHA-256 %s", m.Trained)
	}
}

// stops lists the stop ids with their texts.
func (m *ModelFacts) stops() string {
	if len(m.StopIDs) == 0 {
		return "none: generation ends at its limit only"
	}
	list := make([]string, len(m.StopIDs))
	for i, id := range m.StopIDs {
		list[i] = fmt.Sprint(id)
		if m.StopTokens != nil {
			list[i] += fmt.Sprintf(" (%q)", m.StopTokens[i])
		}
	}
	return strings.Join(list, ", ")
}

func (r *RunFacts) rows(row func(string, ...any)) {
	state := "not finished"
	if r.Finished {
		state = "finished"
	}
	row("run\t%s, %d checkpoints", state, len(r.Checkpoints))
	for _, c := range r.Checkpoints {
		if c.Intact {
			row("\t%s: intact", c.Dir)
		} else {
			row("\t%s: DAMAGED: %s", c.Dir, c.Reason)
		}
	}
}
