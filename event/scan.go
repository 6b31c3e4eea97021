package event

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
	"unicode/utf8"
)

// Event is one event. Byte slices of a scanned event alias the scanned text,
// unless a string in it has escapes.
type Event struct {
	Stream []byte
	ID     ID
	Time   time.Time
	Key    []byte
	Type   []byte
	Data   []byte // raw JSON; nil: not given

	HasStream, HasID, HasTime, HasKey, HasType bool
}

// FieldError is an event that is refused because of one field; Field is empty
// when the text is no JSON object.
type FieldError struct {
	Field  string
	Reason string
}

// Error names the field and what is wrong with it.
func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + " " + e.Reason
}

// depthMax bounds the nesting of data.
const depthMax = 512

// Scan reads one event: a JSON object with the fields id, time, key, type, data
// and stream, none twice and no other. The error is a *FieldError. Exactly the
// valid JSON (in UTF-8, nested no deeper than 512) that has these fields is
// accepted; which of them must be there, and go together, is for the caller.
func Scan(text []byte, ev *Event) error {
	*ev = Event{}
	s := scanner{text: text}
	s.space()
	if !s.take('{') {
		return &FieldError{Reason: "an event must be a JSON object"}
	}
	s.space()
	if !s.take('}') {
		for {
			if err := s.field(ev); err != nil {
				return err
			}
			s.space()
			if s.take('}') {
				break
			}
			if !s.take(',') {
				return s.syntax()
			}
			s.space()
		}
	}
	s.space()
	if s.at < len(text) {
		return &FieldError{Reason: fmt.Sprintf("something follows the event at byte %d; give one event a line", s.at)}
	}
	return nil
}

// scanner walks one JSON text.
type scanner struct {
	text []byte
	at   int
}

func (s *scanner) syntax() error {
	if s.at >= len(s.text) {
		return &FieldError{Reason: "the JSON ends too early"}
	}
	return &FieldError{Reason: fmt.Sprintf("the JSON is wrong at byte %d", s.at)}
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) take(b byte) bool {
	if s.at < len(s.text) && s.text[s.at] == b {
		s.at++
		return true
	}
	return false
}

// field reads one name and value.
func (s *scanner) field(ev *Event) error {
	name, err := s.str()
	if err != nil {
		return err
	}
	s.space()
	if !s.take(':') {
		return s.syntax()
	}
	s.space()
	switch string(name) {
	case "data":
		return s.data(ev)
	case "id":
		return s.id(ev)
	case "time":
		return s.time(ev)
	case "key":
		return s.text1("key", &ev.Key, &ev.HasKey)
	case "type":
		return s.text1("type", &ev.Type, &ev.HasType)
	case "stream":
		return s.text1("stream", &ev.Stream, &ev.HasStream)
	}
	return &FieldError{Field: string(name), Reason: "is no field of an event; put it inside data"}
}

func twice(field string) error { return &FieldError{Field: field, Reason: "is given twice"} }

func (s *scanner) data(ev *Event) error {
	if ev.Data != nil {
		return twice("data")
	}
	from := s.at
	if err := s.value(0); err != nil {
		return err
	}
	ev.Data = s.text[from:s.at:s.at]
	return nil
}

func (s *scanner) text1(field string, into *[]byte, has *bool) error {
	if *has {
		return twice(field)
	}
	if s.at < len(s.text) && s.text[s.at] != '"' {
		return &FieldError{Field: field, Reason: "must be a string"}
	}
	v, err := s.str()
	if err != nil {
		return inField(field, err)
	}
	*into, *has = v, true
	return nil
}

// inField names the field that an error is about, when it names none.
func inField(field string, err error) error {
	wrong, ok := err.(*FieldError)
	if !ok || wrong.Field != "" {
		return err
	}
	return &FieldError{Field: field, Reason: "is wrong: " + wrong.Reason}
}

func (s *scanner) id(ev *Event) error {
	var text []byte
	if err := s.text1("id", &text, &ev.HasID); err != nil {
		return err
	}
	var err error
	if ev.ID, err = parseID(text); err != nil {
		return &FieldError{Field: "id", Reason: err.Error()}
	}
	return nil
}

// time reads a string in RFC 3339 or with Unix milliseconds, or a number of Unix
// milliseconds.
func (s *scanner) time(ev *Event) error {
	if ev.HasTime {
		return twice("time")
	}
	ev.HasTime = true
	var text []byte
	if s.at < len(s.text) && s.text[s.at] == '"' {
		var err error
		if text, err = s.str(); err != nil {
			return err
		}
	} else {
		from := s.at
		if err := s.value(0); err != nil {
			return err
		}
		text = s.text[from:s.at]
	}
	t, err := ParseTime(string(text))
	if err != nil {
		return &FieldError{Field: "time", Reason: err.Error()}
	}
	ev.Time = t
	return nil
}

// value walks any JSON value.
func (s *scanner) value(depth int) error {
	if depth > depthMax {
		return &FieldError{Field: "data", Reason: fmt.Sprintf("is nested deeper than %d at byte %d", depthMax, s.at)}
	}
	if s.at >= len(s.text) {
		return s.syntax()
	}
	switch b := s.text[s.at]; {
	case b == '"':
		return s.skipString()
	case b == '{':
		return s.object(depth)
	case b == '[':
		return s.array(depth)
	case b == 't':
		return s.word("true")
	case b == 'f':
		return s.word("false")
	case b == 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

func (s *scanner) word(w string) error {
	if !bytes.HasPrefix(s.text[s.at:], []byte(w)) {
		return s.syntax()
	}
	s.at += len(w)
	return nil
}

func (s *scanner) number() error {
	s.take('-')
	switch {
	case s.take('0'):
	case !s.digits():
		return s.syntax()
	}
	if s.take('.') && !s.digits() {
		return s.syntax()
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return s.syntax()
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	from := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > from
}

func (s *scanner) object(depth int) error {
	s.at++
	s.space()
	if s.take('}') {
		return nil
	}
	for {
		if err := s.skipString(); err != nil {
			return err
		}
		s.space()
		if !s.take(':') {
			return s.syntax()
		}
		s.space()
		if err := s.value(depth + 1); err != nil {
			return err
		}
		s.space()
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return s.syntax()
		}
		s.space()
	}
}

func (s *scanner) array(depth int) error {
	s.at++
	s.space()
	if s.take(']') {
		return nil
	}
	for {
		if err := s.value(depth + 1); err != nil {
			return err
		}
		s.space()
		if s.take(']') {
			return nil
		}
		if !s.take(',') {
			return s.syntax()
		}
		s.space()
	}
}

// skipString walks a string inside data, which is kept as it is.
func (s *scanner) skipString() error {
	_, _, err := s.walkString()
	return err
}

// walkString walks a string and returns its inside; escaped says that it has
// escapes.
func (s *scanner) walkString() (inside []byte, escaped bool, err error) {
	if !s.take('"') {
		return nil, false, s.syntax()
	}
	from, ascii := s.at, true
	for {
		ascii = s.plain() && ascii
		if s.at >= len(s.text) {
			return nil, false, s.syntax()
		}
		switch s.text[s.at] {
		case '"':
			inside = s.text[from:s.at:s.at]
			if !ascii && !utf8.Valid(inside) {
				return nil, false, &FieldError{Reason: fmt.Sprintf("the string at byte %d is not valid UTF-8", from)}
			}
			s.at++
			return inside, escaped, nil
		case '\\':
			escaped = true
			if !s.escape() {
				return nil, false, s.syntax()
			}
		default: // a control character
			return nil, false, s.syntax()
		}
	}
}

// plain walks to the next byte that is not simply part of a string (a quote, a
// backslash, a control character) and reports whether all before it was ASCII.
// Eight bytes a step: in w-ones&^w the sign of the lowest zero byte of w is set,
// and nothing below it (H. S. Warren, "Hacker's Delight", 6-1).
func (s *scanner) plain() (ascii bool) {
	const ones, signs = 0x0101010101010101, 0x8080808080808080
	high := uint64(0)
	for s.at+8 <= len(s.text) {
		w := binary.LittleEndian.Uint64(s.text[s.at:])
		quote, slash := w^ones*'"', w^ones*'\\'
		stop := ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w) & signs
		if stop != 0 {
			n := bits.TrailingZeros64(stop) &^ 7
			s.at += n / 8
			return (high|w&(1<<n-1))&signs == 0
		}
		high |= w
		s.at += 8
	}
	for ; s.at < len(s.text); s.at++ {
		b := s.text[s.at]
		if b == '"' || b == '\\' || b < 0x20 {
			break
		}
		high |= uint64(b)
	}
	return high&signs == 0
}

// escape walks one escape sequence.
func (s *scanner) escape() bool {
	s.at++
	if s.at >= len(s.text) {
		return false
	}
	b := s.text[s.at]
	s.at++
	switch b {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		_, ok := hex4(s.text[s.at:])
		if ok {
			s.at += 4
		}
		return ok
	}
	return false
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// str reads a string; it aliases the text if it has no escapes.
func (s *scanner) str() ([]byte, error) {
	inside, escaped, err := s.walkString()
	if err != nil || !escaped {
		return inside, err
	}
	return unescape(inside)
}
