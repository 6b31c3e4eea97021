package event

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unescape resolves the escapes of a JSON string that was walked before. A
// surrogate without its other half is refused: it names no character.
func unescape(s []byte) ([]byte, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(s[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				var low rune
				if i+2 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
					low, _ = hex4(s[i+3:])
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return nil, &FieldError{Reason: "a string has half of a surrogate pair"}
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default: // '"', '\\' and '/'
			out = append(out, s[i])
		}
	}
	return out, nil
}

// AppendString appends a JSON string.
func AppendString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, b := range s {
		switch {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b == '\n':
			dst = append(dst, '\\', 'n')
		case b == '\r':
			dst = append(dst, '\\', 'r')
		case b == '\t':
			dst = append(dst, '\\', 't')
		case b < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&0xf])
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, '"')
}

// AppendJSON appends an event as answers show it: id, time, type if it has one,
// and data. The stream comes first if stream is not nil.
func AppendJSON(dst, stream []byte, id ID, typ, data []byte) []byte {
	dst = append(dst, '{')
	if stream != nil {
		dst = AppendString(append(dst, `"stream":`...), stream)
		dst = append(dst, ',')
	}
	dst = append(id.AppendText(append(dst, `"id":"`...)), `","time":"`...)
	dst = append(AppendTime(dst, id.Time()), '"')
	if len(typ) > 0 {
		dst = AppendString(append(dst, `,"type":`...), typ)
	}
	if len(data) == 0 {
		data = []byte("null")
	}
	dst = append(append(dst, `,"data":`...), data...)
	return append(dst, '}')
}

// AppendLine appends an event as a line of NDJSON. It is AppendJSON's text but for
// line breaks between the tokens of data, which become spaces.
func AppendLine(dst, stream []byte, id ID, typ, data []byte) []byte {
	from := len(dst)
	dst = AppendJSON(dst, stream, id, typ, data)
	for i, b := range dst[from:] {
		if b == '\n' || b == '\r' { // strings have none: they write them as escapes
			dst[from+i] = ' '
		}
	}
	return append(dst, '\n')
}
