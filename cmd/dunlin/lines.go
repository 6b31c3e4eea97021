package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/event"
)

// appendLines gives the lines of `event append`, each an event with an id, so
// that it can be sent again. The error is a bad format.
func appendLines(c *client.Client, in io.Reader, format, kind string) (func() ([]byte, error), error) {
	switch format {
	case "ndjson":
		next := scanLines(in)
		return func() ([]byte, error) {
			text, err := next()
			if err != nil {
				return nil, err
			}
			return identify(c, text, kind), nil
		}, nil
	case "json":
		done := false
		return func() ([]byte, error) {
			if done {
				return nil, io.EOF
			}
			done = true
			return wholeEvent(c, in, kind)
		}, nil
	case "lines":
		scanner := newScanner(in)
		return func() ([]byte, error) {
			if scanner.Scan() { // as it stands, blank or indented
				return plainEvent(c, bytes.TrimSuffix(scanner.Bytes(), []byte("\r")), kind), nil
			}
			return nil, endOf(scanner)
		}, nil
	}
	return nil, fmt.Errorf("--format is %q: give ndjson, json or lines", format)
}

// scanLines gives the lines of a file that are not blank.
func scanLines(in io.Reader) func() ([]byte, error) {
	scanner := newScanner(in)
	return func() ([]byte, error) {
		for scanner.Scan() {
			if text := bytes.TrimSpace(scanner.Bytes()); len(text) > 0 {
				return bytes.Clone(text), nil
			}
		}
		return nil, endOf(scanner)
	}
}

func newScanner(in io.Reader) *bufio.Scanner {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(make([]byte, 64<<10), lineMax)
	return scanner
}

// endOf is why a scanner has ended: io.EOF at the end of the input.
func endOf(scanner *bufio.Scanner) error {
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read the input: %w", err)
	}
	return io.EOF
}

// wholeEvent reads one event that may span lines, and makes it one.
func wholeEvent(c *client.Client, in io.Reader, kind string) ([]byte, error) {
	all, err := io.ReadAll(io.LimitReader(in, lineMax))
	if err != nil {
		return nil, fmt.Errorf("read the input: %w", err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, all); err != nil {
		return nil, fmt.Errorf("the input is not JSON: %w", err)
	}
	return identify(c, line.Bytes(), kind), nil
}

// plainEvent makes an event of a line of text.
func plainEvent(c *client.Client, text []byte, kind string) []byte {
	line := prefix(c.NewID(time.Now()), kind)
	line = event.AppendString(append(line, `"data":`...), bytes.ToValidUTF8(text, []byte("\uFFFD")))
	return append(line, '}')
}

// identify gives an event's line an id, unless it has one or a key. A line that
// cannot be read is sent as it is: the node says what is wrong with it.
func identify(c *client.Client, text []byte, kind string) []byte {
	var ev event.Event
	if event.Scan(text, &ev) != nil {
		return text
	}
	if ev.HasType {
		kind = ""
	}
	if ev.HasID || ev.HasKey {
		if kind == "" {
			return text
		}
		return splice(event.AppendString([]byte(`{"type":`), []byte(kind)), text)
	}
	at := ev.Time
	if !ev.HasTime {
		at = time.Now()
	}
	return splice(trimComma(prefix(c.NewID(at), kind)), text)
}

// loadLines gives the lines of `event load`. key is how ids are made: empty,
// "line", or the field of data that is the event's key.
func loadLines(c *client.Client, in io.Reader, key string) func() ([]byte, error) {
	scanner := newScanner(in)
	number := uint32(0)
	return func() ([]byte, error) {
		for scanner.Scan() {
			number++
			text := bytes.TrimSpace(scanner.Bytes())
			if len(text) == 0 {
				continue
			}
			line, err := keyed(c, bytes.Clone(text), key, number)
			if err != nil {
				return nil, &client.BadLine{Line: int(number), Reason: err.Error()}
			}
			return line, nil
		}
		return nil, endOf(scanner)
	}
}

var errNeedsTime = errors.New("has no time: --key needs one, since the id is made from it")

// keyed gives a line its id or key.
func keyed(c *client.Client, text []byte, key string, number uint32) ([]byte, error) {
	if key == "" {
		return identify(c, text, ""), nil
	}
	var ev event.Event
	if event.Scan(text, &ev) != nil || ev.HasID || ev.HasKey {
		return text, nil // the node says what is wrong, or nothing is to be done
	}
	if !ev.HasTime {
		return nil, errNeedsTime
	}
	if key == "line" {
		return splice(trimComma(prefix(event.LineID(ev.Time, number, event.LineHash(text)), "")), text), nil
	}
	var data map[string]json.RawMessage
	if err := json.Unmarshal(ev.Data, &data); err != nil || data[key] == nil {
		return nil, fmt.Errorf("its data has no field %q for --key", key)
	}
	value := data[key]
	var word string
	if json.Unmarshal(value, &word) != nil {
		word = string(value)
	}
	return splice(event.AppendString([]byte(`{"key":`), []byte(word)), text), nil
}

// prefix begins an event: an id and, if given, a type, each with its comma.
func prefix(id event.ID, kind string) []byte {
	b := append(id.AppendText([]byte(`{"id":"`)), `",`...)
	if len(kind) > 0 {
		b = append(event.AppendString(append(b, `"type":`...), []byte(kind)), ',')
	}
	return b
}

func trimComma(b []byte) []byte { return bytes.TrimSuffix(b, []byte(",")) }

// splice puts fields before those of an event's line.
func splice(fields, text []byte) []byte {
	rest := bytes.TrimLeft(bytes.TrimSpace(text)[1:], " \t\r\n")
	if len(rest) > 0 && rest[0] != '}' {
		fields = append(fields, ',')
	}
	return append(fields, rest...)
}
