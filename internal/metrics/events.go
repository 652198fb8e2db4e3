// TensorBoard event files: TFRecord framing around tensorflow.Event messages. The few fields needed
// are encoded by hand, which spares the generated code of TensorFlow's whole schema.

package metrics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of event.proto, summary.proto, tensor.proto and session_log.
const (
	eventWallTime, eventStep, eventVersion, eventSummary, eventSession = 1, 2, 3, 5, 7

	summaryValue                                    = 1
	valueTag, valueSimple, valueTensor, valueMeta   = 1, 2, 8, 9
	metaPlugin, pluginName                          = 1, 1
	tensorType, tensorShape, tensorString           = 1, 2, 8
	shapeDim, dimSize                               = 2, 1
	sessionStatus, sessionStart, tensorTypeOfString = 1, 1, 7
)

// Events writes one events.out.tfevents.* file for TensorBoard. Each record is one write.
type Events struct {
	mu   sync.Mutex
	file *os.File
	now  func() time.Time
}

// OpenEvents starts a new event file in dir. TensorBoard files are never rewritten: for a run resumed at
// resumeStep the new file tells TensorBoard to forget points of earlier files beyond that step.
func OpenEvents(dir string, resumeStep int) (*Events, error) {
	return openEvents(dir, resumeStep, time.Now)
}

func openEvents(dir string, resumeStep int, now func() time.Time) (*Events, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost" // part of a file name, nothing more
	}
	name := fmt.Sprintf("events.out.tfevents.%010d.%s.%d.*", now().Unix(), host, os.Getpid())
	f, err := os.CreateTemp(dir, name) // the random end keeps two writers of one second apart
	if err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	e := &Events{file: f, now: now}
	err = errors.Join(f.Chmod(0o644), e.write(0, eventVersion, []byte("brain.Event:2")))
	if resumeStep > Fresh {
		start := protowire.AppendVarint(protowire.AppendTag(nil, sessionStatus, protowire.VarintType), sessionStart)
		err = errors.Join(err, e.write(resumeStep+1, eventSession, start))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return e, nil
}

// Log implements Logger: one event with all scalars, in sorted order. Values are stored as float32,
// which is what TensorBoard's scalar plot keeps.
func (e *Events) Log(step int, scalars map[string]float64) error {
	var summary []byte
	for _, key := range sortedKeys(scalars) {
		value := appendString(nil, valueTag, key)
		value = protowire.AppendTag(value, valueSimple, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(scalars[key])))
		summary = appendBytes(summary, summaryValue, value)
	}
	return e.write(step, eventSummary, summary)
}

// Text writes a text (Markdown) for TensorBoard's text tab: the resolved configuration, a sample.
func (e *Events) Text(step int, tag, text string) error {
	shape := appendBytes(nil, shapeDim, protowire.AppendVarint(protowire.AppendTag(nil, dimSize, protowire.VarintType), 1))
	tensor := protowire.AppendVarint(protowire.AppendTag(nil, tensorType, protowire.VarintType), tensorTypeOfString)
	tensor = appendString(appendBytes(tensor, tensorShape, shape), tensorString, text)
	value := appendBytes(appendString(nil, valueTag, tag), valueTensor, tensor)
	value = appendBytes(value, valueMeta, appendBytes(nil, metaPlugin, appendString(nil, pluginName, "text")))
	return e.write(step, eventSummary, appendBytes(nil, summaryValue, value))
}

// Close syncs and closes the file.
func (e *Events) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := errors.Join(e.file.Sync(), e.file.Close()); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

// write appends one event whose payload is the length-delimited field given.
func (e *Events) write(step int, field protowire.Number, payload []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	event := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
	event = protowire.AppendFixed64(event, math.Float64bits(float64(e.now().UnixMicro())/1e6))
	if step != 0 { // as protobuf's own encoders do
		event = protowire.AppendVarint(protowire.AppendTag(event, eventStep, protowire.VarintType), uint64(step))
	}
	event = appendBytes(event, field, payload)
	if _, err := e.file.Write(frame(event)); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

// frame wraps data as a TFRecord: length, its checksum, data, its checksum, little-endian.
func frame(data []byte) []byte {
	record := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	record = binary.LittleEndian.AppendUint32(record, maskedCRC(record))
	record = append(record, data...)
	return binary.LittleEndian.AppendUint32(record, maskedCRC(data))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is CRC-32C, rotated and offset as TFRecord wants it, so that a checksum of data that holds
// checksums stays strong.
func maskedCRC(data []byte) uint32 {
	crc := crc32.Checksum(data, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendString(b []byte, field protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), v)
}
