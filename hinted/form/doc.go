// Package form is what hints look like: the stored encoding of one, and marks, the
// set of ranges and tables that some hints touch.
//
// Encodings begin with a version, and unknown ones are refused. Decoding checks
// lengths before it allocates, accepts each value in one form only, and never
// panics. A Hint's entries alias what it was decoded from.
//
// Everything here is pure; the package starts no goroutines.
package form
