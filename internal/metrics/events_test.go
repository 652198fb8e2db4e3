package metrics

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// The bytes that TensorBoard's own protobuf classes and checksum give for three events at 1700000000.25 s.
const (
	wantVersion = "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9"
	wantRestart = "0f000000000000006d532b090900001040fc54d94110083a020801ed76c781"
	wantScalars = "300000000000000095f5d05f0900001040fc54d94110ac022a220a0b0a046c6f7373150000003f0a130a0c6f626a6563746976652f6b6c150000a0bf26215a01"
)

func fixedTime() time.Time { return time.Unix(1700000000, 250e6) }

func writtenEvents(t *testing.T, resume int, write func(*Events)) []byte {
	t.Helper()
	dir := t.TempDir()
	e, err := openEvents(dir, resume, fixedTime)
	require.NoError(t, err)
	write(e)
	require.NoError(t, e.Close())
	names, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.1700000000.*"))
	require.NoError(t, err)
	require.Len(t, names, 1)
	content, err := os.ReadFile(names[0])
	require.NoError(t, err)
	return content
}

func TestEventBytesAreTensorBoards(t *testing.T) {
	got := writtenEvents(t, 7, func(e *Events) {
		require.NoError(t, e.Log(300, map[string]float64{"objective/kl": -1.25, "loss": 0.5}))
	})
	require.Equal(t, wantVersion+wantRestart+wantScalars, hex.EncodeToString(got))
}

// fields splits a message into its length-delimited, fixed and varint fields.
func fields(t *testing.T, msg []byte) map[protowire.Number][][]byte {
	t.Helper()
	out := map[protowire.Number][][]byte{}
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		require.Positive(t, n)
		size := protowire.ConsumeFieldValue(num, typ, msg[n:])
		require.Positive(t, size)
		value := msg[n : n+size]
		if typ == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		out[num] = append(out[num], value)
		msg = msg[n+size:]
	}
	return out
}

func TestFreshRunHasNoRestartAndTextIsAStringTensor(t *testing.T) {
	content := writtenEvents(t, Fresh, func(e *Events) { require.NoError(t, e.Text(0, "run.yaml", "seed: 1")) })
	var events [][]byte
	for len(content) > 0 {
		size := binary.LittleEndian.Uint64(content)
		data := content[12 : 12+size]
		require.Equal(t, maskedCRC(data), binary.LittleEndian.Uint32(content[12+size:]))
		events, content = append(events, data), content[16+size:]
	}
	require.Len(t, events, 2, "version and text")
	value := fields(t, fields(t, fields(t, events[1])[eventSummary][0])[summaryValue][0])
	require.Equal(t, "run.yaml", string(value[valueTag][0]))
	require.Equal(t, "seed: 1", string(fields(t, value[valueTensor][0])[tensorString][0]))
	plugin := fields(t, fields(t, value[valueMeta][0])[metaPlugin][0])
	require.Equal(t, "text", string(plugin[pluginName][0]))
}

func TestMaskedCRCOfKnownText(t *testing.T) {
	// CRC-32C of "123456789" is e3069283 (RFC 3720); rotated right by 15 it is 2507c60d, plus a282ead8.
	require.Equal(t, uint32(0x2507c60d+0xa282ead8), maskedCRC([]byte("123456789")))
	require.Equal(t, math.Float32bits(0.5), uint32(0x3f000000))
}
