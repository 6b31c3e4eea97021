package ingest

import "bytes"

// splitter cuts a text that comes in chunks into lines. Only a line that spans
// chunks is copied, and one longer than max is dropped as it passes by.
type splitter struct {
	max   int
	carry []byte // a line's beginning, whose end has not come yet
	long  bool   // that line is longer than max
}

// cut takes the first line off a chunk, without its end. It aliases the chunk or
// the splitter, until the next call. ok is false when the chunk has no further
// end of line: what is left of it has been kept, and the next chunk is needed.
func (s *splitter) cut(chunk []byte) (line []byte, long bool, rest []byte, ok bool) {
	i := bytes.IndexByte(chunk, '\n')
	if i < 0 {
		s.keep(chunk)
		return nil, false, nil, false
	}
	line, rest = chunk[:i], chunk[i+1:]
	if len(s.carry) == 0 && !s.long {
		return line, len(line) > s.max, rest, true
	}
	s.keep(line)
	line, long = s.finish()
	return line, long, rest, true
}

// last returns what follows the last end of line; ok is false when nothing does.
func (s *splitter) last() (line []byte, long, ok bool) {
	ok = len(s.carry) > 0 || s.long
	line, long = s.finish()
	return line, long, ok
}

func (s *splitter) keep(part []byte) {
	if s.long || len(s.carry)+len(part) > s.max {
		s.long, s.carry = true, s.carry[:0]
		return
	}
	s.carry = append(s.carry, part...)
}

func (s *splitter) finish() (line []byte, long bool) {
	line, long = s.carry, s.long
	s.carry, s.long = s.carry[:0], false
	return line, long
}

// blank reports whether a line has nothing but white space.
func blank(line []byte) bool {
	for _, b := range line {
		switch b {
		case ' ', '\t', '\r':
		default:
			return false
		}
	}
	return true
}
