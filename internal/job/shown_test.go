package job

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestHumanNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "0.98 KiB", 1024: "1.00 KiB", 10 << 10: "10.0 KiB", 100 << 20: "100 MiB",
		999 << 20: "999 MiB", 1023 << 20: "1.00 GiB", 3 << 29: "1.50 GiB", 5 << 50: "5120 TiB"} {
		assert.Equal(t, want, humanBytes(n), n)
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		assert.Equal(t, want, humanCount(n), n)
	}
}
