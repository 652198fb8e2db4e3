package main

// Rounds: everybody in turn, then the median and the range of what they took and of the ratios within rounds.

import (
	"fmt"
	"os"
	"slices"
)

// spread is a median with the least and the largest of all rounds.
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// line is one line of the table. Ratios are the rival's figure over salsa's: above 1 salsa is ahead.
type line struct {
	Row        string  `json:"row"`
	Measure    string  `json:"measure"` // step or a phase [s per unit], wall [s], rss [bytes]
	Unit       string  `json:"unit,omitempty"`
	What       string  `json:"what"`
	Rounds     int     `json:"rounds"`
	Salsa      spread  `json:"salsa"`
	Stock      spread  `json:"stock"`
	Tuned      *spread `json:"tuned,omitempty"`
	RatioStock spread  `json:"ratio_stock"`
	RatioTuned *spread `json:"ratio_tuned,omitempty"`
}

// name is how a line is called in messages.
func (l line) name() string { return l.Row + " " + l.Measure }

// ways are who takes part, in the order of a round.
var ways = []string{"salsa", "stock", "tuned"}

// measures is the order of a row's lines.
var measures = []string{"step", "generate", "score", "update", "wall", "rss"}

// measure runs a row and returns its lines.
func (s *settings) measure(r *row, rounds int) ([]line, error) {
	if err := s.prepare(r); err != nil {
		return nil, err
	}
	seen := map[string][]reading{}
	for i := range rounds {
		for _, way := range ways {
			if way == "tuned" && r.notATuned {
				continue
			}
			got, err := s.once(r, way)
			if err != nil {
				return nil, fmt.Errorf("row %q, %s: %w", r.name, way, err)
			}
			seen[way] = append(seen[way], got)
			fmt.Fprintf(os.Stderr, "jobs: %s, round %d/%d, %s: step %.4g s, wall %.1f s, peak %.0f MB\n", r.name, i+1, rounds, way, got["step"], got["wall"], got["rss"]/1e6)
		}
	}
	var lines []line
	for _, m := range measures {
		if _, ok := seen["salsa"][0][m]; ok {
			lines = append(lines, lineOf(r, m, seen))
		}
	}
	return lines, nil
}

// once runs one process of a row.
func (s *settings) once(r *row, way string) (reading, error) {
	if r.benchmarks != "" {
		return s.kernel(r, way)
	}
	j := s.rivalJob(r, way)
	if way == "salsa" {
		j = job{argv: r.salsa(s, r)}
	}
	p, err := s.process(j)
	if err != nil {
		return nil, err
	}
	var got reading
	if way == "salsa" {
		got, err = r.read(s, r, p)
	} else {
		got, err = fromRival(r, p)
	}
	if err != nil {
		return nil, err
	}
	got["wall"], got["rss"] = p.wall, p.rss
	return got, nil
}

func lineOf(r *row, measure string, seen map[string][]reading) line {
	l := line{Row: r.name, Measure: measure, Unit: r.unit, What: r.what, Rounds: len(seen["salsa"])}
	l.Salsa, _ = compareWay(seen, "salsa", measure)
	l.Stock, l.RatioStock = compareWay(seen, "stock", measure)
	if len(seen["tuned"]) > 0 {
		tuned, ratio := compareWay(seen, "tuned", measure)
		l.Tuned, l.RatioTuned = &tuned, &ratio
	}
	return l
}

// compareWay returns the figures of one way and their ratios to salsa's of the same round.
func compareWay(seen map[string][]reading, way, measure string) (figures, ratios spread) {
	var all, over []float64
	for i, got := range seen[way] {
		all = append(all, got[measure])
		over = append(over, got[measure]/seen["salsa"][i][measure])
	}
	return spreadOf(all), spreadOf(over)
}

func spreadOf(v []float64) spread {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Low: v[0], High: v[n-1]}
}
