// Package book is the memory of clients: what they were told of each of their
// writes, and so what must be found in every region once all agree.
//
//	book.go    Book: what was acknowledged, what may have happened, what was refused
//	check.go   Book.Read: all of it read in one region and held against the book
//	exact.go   Book.Looked: reads that were linearizable, held against each other
//	record.go  Record: what was found, to be found again later
//	load.go    Load: clients that write at random, and book what they are told
//
// It goes by the words of package client, to the letter, and shares no code
// with what it checks. Whoever uses it makes sure that all regions agree before
// they are read; what is read in one region is to be compared with what is read
// in the others.
package book
