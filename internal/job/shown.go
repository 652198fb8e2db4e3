package job

// Results that are looked at rather than kept: each is a table on a terminal and an object as JSON.

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Shown is the result of a job that only looks. Marshalled as JSON it says all that WriteText does.
type Shown interface {
	// WriteText writes the result for a reader.
	WriteText(w io.Writer) error
}

// table lays out rows whose cells are separated by tabs; the last column is ragged.
func table(w io.Writer, rows func(row func(format string, args ...any))) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	rows(func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }) // Flush tells of a failed write
	return t.Flush()
}

// humanBytes writes a size with three digits in powers of 1024.
func humanBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, u := float64(n), 0
	for v >= 999.5 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return strconv.FormatFloat(v, 'f', max(0, 2-len(strconv.Itoa(int(v)))+1), 64) + " " + units[u]
}

// humanCount writes a whole number with its thousands apart.
func humanCount(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && d != '-' && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
