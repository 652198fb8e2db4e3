package job

// Means for the terminal: what eval and a sweep have measured, a line per model or mix. Files hold the details.

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// meanRow is a line of numbers by column; a column that it lacks stays empty.
type meanRow struct {
	name   string
	values map[string]float64
}

// writeMeans lays rows out under the columns that any of them has, in the order of columns.
func writeMeans(w io.Writer, head string, columns []string, rows []meanRow) error {
	columns = slices.DeleteFunc(slices.Clone(columns), func(c string) bool {
		return !slices.ContainsFunc(rows, func(r meanRow) bool { _, ok := r.values[c]; return ok })
	})
	return table(w, func(row func(format string, args ...any)) {
		row("%s", strings.Join(slices.Concat([]string{head}, columns), "\t "))
		for _, r := range rows {
			cells := []string{r.name}
			for _, c := range columns {
				cell := ""
				if v, ok := r.values[c]; ok {
					cell = fmt.Sprintf("% .3f", v) // a blank where others have a minus
				}
				cells = append(cells, cell)
			}
			row("%s", strings.Join(cells, "\t"))
		}
	})
}

// klColumn names the column of the KL to a model.
func klColumn(name string) string { return "KL to " + name }

// klColumns names them for all models that the rows measure it to.
func klColumns(all ...map[string]float64) []string {
	var names []string
	for _, kl := range all {
		names = slices.AppendSeq(names, maps.Keys(kl))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for i := range names {
		names[i] = klColumn(names[i])
	}
	return names
}

// writeText prints every model's means, and where the samples are.
func (e *Evaluation) writeText(w io.Writer, path string) error {
	var rows []meanRow
	var kls []map[string]float64
	for _, m := range e.Models {
		kl := map[string]float64{}
		row := meanRow{m.Name, map[string]float64{"tokens": meanLength(m.Length)}}
		if len(m.Reward) > 0 {
			row.values["reward"] = mean(m.Reward)
		}
		if len(m.Gold) > 0 {
			row.values["gold"] = mean(m.Gold)
		}
		if len(m.Safety) > 0 {
			row.values["safety"] = mean(m.Safety)
		}
		for name, of := range m.KL {
			kl[name] = mean(of)
			row.values[klColumn(name)] = kl[name]
		}
		rows, kls = append(rows, row), append(kls, kl)
	}
	if err := writeMeans(w, "model", slices.Concat([]string{"reward", "gold", "safety"}, klColumns(kls...), []string{"tokens"}), rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "salsa: every sample and its numbers: %s\n", path)
	return err
}

// writeText prints the means at every mix.
func (s *Sweep) writeText(w io.Writer) error {
	var rows []meanRow
	var kls []map[string]float64
	for _, p := range s.Points {
		row := meanRow{strconv.FormatFloat(p.Alpha, 'g', -1, 64), p.values()}
		rows, kls = append(rows, row), append(kls, p.KL)
	}
	return writeMeans(w, "α", slices.Concat([]string{"loss", "reward", "gold"}, klColumns(kls...)), rows)
}

// tell shows a result on standard error, unless quiet is asked for.
func (b *Base) tell(show func(w io.Writer) error) error {
	if b.Quiet {
		return nil
	}
	return show(os.Stderr)
}
