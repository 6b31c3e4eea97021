// Package seat lets one holder at a time have the seat of a key: who comes later takes
// it over, and who is not wanted any more loses it.
//
// Invariants: a seat that is lost stays so, and says why; who was let in before it became
// unwanted gets none that is not lost. There are no goroutines.
package seat
