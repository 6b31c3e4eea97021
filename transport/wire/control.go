package wire

import "encoding/binary"

// A control call and its answer:
//
//	request:  hello | kind | body to the end
//	answer:   hello | outcome u8 | body to the end, or kind | text to the end

// ControlKindMax bounds the kind of a control call and of its error.
const ControlKindMax = 64

const (
	outcomeDone   = 0
	outcomeFailed = 1
)

// ControlError is an error of a peer's control handler: Kind is for code, Text
// for people.
type ControlError struct{ Kind, Text string }

// Error returns the kind and the text.
func (e *ControlError) Error() string { return e.Kind + ": " + e.Text }

// AppendControlRequest appends a control call.
func AppendControlRequest(dst, hello []byte, kind string, body []byte) []byte {
	dst = appendBytes(dst, hello)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(kind)))
	dst = append(dst, kind...)
	return append(dst, body...)
}

// DecodeControlRequest splits a control call.
func DecodeControlRequest(b []byte) (hello []byte, kind string, body []byte, err error) {
	r := reader{b: b}
	hello, name := r.bytes(), r.bytes()
	if r.bad || len(name) == 0 || len(name) > ControlKindMax {
		return nil, "", nil, ErrPayload
	}
	return hello, string(name), r.b, nil
}

// AppendControlAnswer appends the answer to a control call: failure, if not nil,
// or the body.
func AppendControlAnswer(dst, hello, body []byte, failure *ControlError) []byte {
	dst = appendBytes(dst, hello)
	if failure == nil {
		return append(append(dst, outcomeDone), body...)
	}
	kind := failure.Kind[:min(len(failure.Kind), ControlKindMax)]
	dst = appendBytes(append(dst, outcomeFailed), []byte(kind))
	return append(dst, failure.Text[:min(len(failure.Text), DetailMax)]...)
}

// DecodeControlAnswer splits the answer to a control call.
func DecodeControlAnswer(b []byte) (hello, body []byte, failure *ControlError, err error) {
	r := reader{b: b}
	hello = r.bytes()
	outcome := r.u8()
	if outcome == outcomeFailed {
		failure = &ControlError{Kind: string(r.bytes()), Text: string(r.b)}
	}
	if r.bad || outcome > outcomeFailed {
		return nil, nil, nil, ErrPayload
	}
	return hello, r.b, failure, nil
}
