package runreport

// Sections of a report: what was run, how it was learnt, and how to read it.

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"salsa/internal/demo"
	"salsa/internal/options"
	"salsa/internal/report"
	"salsa/models"
)

// whatRan lists models, settings and the stages with their times.
func (m *material) whatRan(f *findings) (report.Section, error) {
	s := report.Section{Title: "What was run", Intro: "Read from each run's `run.yaml`, not from memory."}
	if m.gold {
		var story []report.Block
		for _, text := range strings.Split(demo.Describe(), "\n\n") {
			story = append(story, report.Paragraph(text))
		}
		s.Blocks = append(s.Blocks, report.Details{Summary: "The task, its gold reward and its people", Blocks: story})
	}
	cards := report.Columns{}
	if items, err := m.modelItems(); err != nil {
		return s, err
	} else if len(items) > 0 {
		cards = append(cards, report.KeyValues{Title: "Models and data", Items: items})
	}
	if items := m.trainingItems(); len(items) > 0 {
		cards = append(cards, report.KeyValues{Title: "PPO and SALSA", Items: items})
	}
	if len(cards) > 0 {
		s.Blocks = append(s.Blocks, cards)
	}
	if len(f.Stages) == 0 {
		s.Blocks = append(s.Blocks, left("The pipeline's stages and their times", "no `state.json` lies two levels above the run folders"))
		return s, nil
	}
	table := report.Table{Title: "Stages", Columns: []report.Column{{Name: "Stage"}, {Name: "Kind"}, {Name: "Status"}, {Name: "Wall time", Numeric: true}}}
	for _, x := range f.Stages {
		took := report.Text("–")
		if x.Seconds > 0 {
			took = report.Text(span(x.Seconds))
		}
		table.Rows = append(table.Rows, []report.Cell{report.Text(x.Name), report.Text(x.Kind), report.Text(x.Status), took})
	}
	s.Blocks = append(s.Blocks, report.Details{Summary: fmt.Sprintf("All %d stages with their wall times: %s", len(f.Stages), span(m.totalSeconds())), Blocks: []report.Block{table}})
	return s, nil
}

// left says that a part has nothing to show, and why.
func left(part, why string) report.Block {
	return report.Paragraph(fmt.Sprintf("%s: left out, for %s.", part, why))
}

// modelItems describes the networks and what they learnt from.
func (m *material) modelItems() ([]report.KeyValue, error) {
	var items []report.KeyValue
	add := func(key, value string) {
		if value != "" {
			items = append(items, report.KeyValue{Key: key, Value: value})
		}
	}
	runs := slices.Concat(m.ppo, m.salsa, m.sft)
	if len(runs) > 0 {
		text, err := architecture(runs[0])
		if err != nil {
			return nil, err
		}
		add("Policy", text)
	}
	for i, run := range m.sft {
		add(fmt.Sprintf("SFT %d", i+1), fmt.Sprintf("%s; %d steps of %s, learning rate %s, seed %s", code(run.name), run.steps(), run.setting("batch_size"), run.setting("learning_rate"), run.seed))
	}
	if m.reward != nil {
		text, err := architecture(m.reward)
		if err != nil {
			return nil, err
		}
		add("Reward model", strings.TrimPrefix(text+fmt.Sprintf("; %d steps of %s pairs, learning rate %s", m.reward.steps(), m.reward.setting("batch_size"), m.reward.setting("learning_rate")), "; "))
		add("Preference pairs", m.dataOf(m.reward, "data"))
	}
	if len(m.sft) > 0 {
		add("Demonstrations", m.dataOf(m.sft[0], "data"))
	}
	if x := slices.Concat(m.ppo, m.salsa); len(x) > 0 {
		add("Prompts", m.dataOf(x[0], "data"))
	}
	for _, x := range m.methods() {
		add("Reference of "+x.name, m.referenceOf(x.runs[0]))
	}
	if m.eval != nil {
		add("Held-out prompts", fmt.Sprintf("%d, %d samples each at temperature %g", len(m.eval.Prompts), m.eval.Samples, m.eval.Temperature))
	}
	return items, nil
}

func code(s string) string { return "`" + s + "`" }

// dataOf names the data files of a run by their last two elements.
func (m *material) dataOf(r *ranRun, key string) string {
	var names []string
	for _, path := range strings.Split(r.setting(key), ", ") {
		if path != "" {
			names = append(names, code(filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path))))
		}
	}
	return strings.Join(names, ", ")
}

// architecture describes the model at the top of a run folder; "" if it is not there yet.
func architecture(r *ranRun) (string, error) {
	if _, err := os.Stat(filepath.Join(r.dir, "config.json")); os.IsNotExist(err) {
		return "", nil
	}
	c, err := models.ReadConfig(r.dir)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %s parameters: %d layers of width %d, %d heads, vocabulary %d", c.Architecture(), report.Number(float64(r.params), 0), c.Layers, c.Hidden, c.Heads, c.Vocab), nil
}

// ppoSettings are the settings of a PPO run that the page shows, with their names.
var ppoSettings = []struct{ key, name string }{
	{"max_steps", "Steps"}, {"batch_size", "Prompts per step"}, {"ppo_epochs", "Passes over a batch"}, {"num_mini_batches", "Mini-batches"},
	{"kl_coef", "KL weight β"}, {"learning_rate", "Learning rate"}, {"lr_schedule", "Schedule"}, {"temperature", "Temperature"},
	{"max_new_tokens", "Longest completion"}, {"normalize_scores", "Scores normalised"}, {"missing_eos", "Completion without end"},
}

// trainingItems lists the settings, where PPO and SALSA differ with both values, and whether anything else differs.
func (m *material) trainingItems() []report.KeyValue {
	list := m.methods()
	if len(list) == 0 {
		return nil
	}
	var items []report.KeyValue
	for _, x := range list {
		var seeds []string
		for _, run := range x.runs {
			seeds = append(seeds, run.seed)
		}
		items = append(items, report.KeyValue{Key: "Seeds of " + x.name, Value: strings.Join(seeds, ", ")})
	}
	for _, s := range ppoSettings {
		var values []string
		for _, x := range list {
			values = append(values, x.runs[0].setting(s.key))
		}
		if values[0] == "" {
			continue
		}
		text := values[0]
		if len(values) > 1 && values[0] != values[1] {
			text = fmt.Sprintf("**%s** (PPO), **%s** (SALSA)", values[0], values[1])
		}
		items = append(items, report.KeyValue{Key: s.name, Value: text})
	}
	if len(list) > 1 {
		items = append(items, report.KeyValue{Key: "Differ between the runs", Value: m.differing()})
	}
	return items
}

// referenceOf names the members of a run's reference by their folders' names.
func (m *material) referenceOf(r *ranRun) string {
	text := r.setting("reference")
	list, weights, mixed := strings.Cut(text, "@")
	dirs := strings.Split(list, ",")
	var names []string
	for _, dir := range dirs {
		names = append(names, m.display(lastName(dir)))
	}
	if len(dirs) == 1 {
		return names[0]
	}
	if !mixed {
		return "soup of " + strings.Join(names, " and ") + ", equal shares"
	}
	return "soup of " + strings.Join(names, " and ") + ", shares " + strings.ReplaceAll(weights, ",", " and ")
}

// neutral are settings that must differ, or cannot change what a run learns.
var neutral = map[string]bool{"out": true, "seed": true, "resume": true, "json": true, "quiet": true, "threads": true}

// differing lists the settings that are not the same in all runs of PPO and SALSA.
func (m *material) differing() string {
	runs := slices.Concat(m.ppo, m.salsa)
	var keys []string
	for _, entry := range runs[0].settings.Entries {
		same := !slices.ContainsFunc(runs, func(r *ranRun) bool { return r.setting(entry.Key) != runs[0].setting(entry.Key) })
		if !same && !neutral[entry.Key] {
			keys = append(keys, code(entry.Key))
		}
	}
	if len(keys) == 0 {
		return "nothing but the seed"
	}
	return strings.Join(keys, ", ") + " and the seed"
}

// limits says how to read the page, and how it was made.
func (m *material) limits(o *Options) report.Section {
	s := report.Section{Title: "How to read this", Blocks: []report.Block{
		report.Paragraph("**Chance.** Prompts, samples and seeds all move these numbers. The interval over prompts says what other prompts would have given with these very models; the interval over seeds says what other training runs would have given, and with few seeds it is wide. The verdict names a winner only where both leave out 0."),
		report.Paragraph(fmt.Sprintf("**Smoothing.** A point is the mean of %s (learning curves) or %s (frontier), and the frontier's bold lines average neighbouring points too. The highest point of a noisy curve is always a little too high.", strideText(m.stride(curvePoints)), strideText(m.stride(frontierPoints)))),
		report.Paragraph("**KL** is the mean over sampled completions of the whole completion's log-ratio, Σ log π(token)/π₀(token), in nats. It is an estimate and can dip below 0 near the start. Training curves use each step's own batch, the final evaluation held-out prompts."),
		report.Paragraph("**One setting.** Each method ran at one β and one length. Another β moves both along their curves, which is why the curves, and not only their ends, are compared."),
	}}
	if m.gold {
		s.Blocks = append(s.Blocks, report.Paragraph("**The task is made up.** Its gold reward is exact, which no real task offers, and its models are tiny. It shows mechanisms; it does not predict sizes on language."))
	}
	s.Blocks = append(s.Blocks, report.Code{Title: "This page again", Text: o.command()})
	if m.state.Recipe != "" {
		items := []report.KeyValue{{Key: "Recipe", Value: code(m.state.Recipe)}}
		for _, v := range m.state.Vars {
			items = append(items, report.KeyValue{Key: v.Name, Value: v.Value})
		}
		for _, set := range m.state.Sets {
			items = append(items, report.KeyValue{Key: "--set", Value: code(set)})
		}
		s.Blocks = append(s.Blocks, report.KeyValues{Title: "The pipeline", Items: items})
	}
	return s
}

func strideText(stride int) string {
	if stride == 1 {
		return "one step's batch"
	}
	return fmt.Sprintf("%d consecutive steps", stride)
}

// command is the command line that makes this report from the same folders.
func (o *Options) command() string {
	now, plain := options.Of(o), Default()
	before := options.Of(&plain)
	var out strings.Builder
	out.WriteString("salsa report")
	for _, key := range now.Keys() {
		value, _ := now.Get(key)
		if was, _ := before.Get(key); was == value {
			continue
		}
		out.WriteString(" \\\n  --" + strings.ReplaceAll(key, "_", "-") + " " + quoted(value))
	}
	return out.String()
}

// quoted protects a word from the shell where that is needed.
func quoted(s string) string {
	if strings.ContainsAny(s, " \t\n'\"$`\\!*?[](){}<>|&;#~") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// madeBy names the program for the page's foot, and the file of the numbers.
func madeBy(numbers string) string {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				commit = " " + s.Value[:12]
			}
		}
	}
	return fmt.Sprintf("salsa%s, %s on %s/%s. All numbers are in `%s` beside this file.", commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, numbers)
}
