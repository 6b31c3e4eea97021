// Package wire is the language between nodes: the messages that they exchange
// and their encoding into frames. It is pure: no I/O, no goroutines, no clock.
//
// Bytes from outside never make it panic, and every length is checked against
// what is left before it is used, so decoding allocates no more than the bytes
// that came can fill. Decoders accept only what is consumed exactly, with no
// unknown flags; decoded byte slices alias the input. Encoders append exactly as
// much as their size functions say.
package wire
