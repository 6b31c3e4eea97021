// Package schema defines keyspaces, tables and columns: the part of the catalog
// that says what bytes mean, and the view that a node serves by.
//
// A Schema is a document that the nodes agree on. It is a value: every change
// returns a new one, and Validate and CheckChange say whether it may follow. Ids
// of tables and columns are given out once and never again, since rows carry
// column ids and keys carry table ids; a window's width never changes, since keys
// carry window numbers; a floor never falls, since what lay below it is gone.
//
// A View is one catalog version made ready to serve: its ring, and its tables
// with their key shapes and placements. It is immutable; a request keeps the View
// that it began with.
//
// Everything here is pure: no I/O, no clock, no goroutine.
package schema
