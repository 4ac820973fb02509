// Package transfer is the format in which data moves in and out: JSON lines.
//
//	{"atoll_export":1}                                             first
//	{"key":"likes:42","type":"counter","value":"-5"}
//	{"key":"cart","type":"set","elements":["fig"],"elements_base64":["/w=="]}
//	{"key":"name","type":"register","value":"Ada","siblings":[{"value":"Eve"}]}
//	{"lines":3}                                                    last
//
// What is no text in UTF-8 stands in base64 under a name that ends in _base64:
// key, value, elements. The value of a counter is a whole number of 64 bits in a
// string, as many programs read numbers as floating point; a number is read as
// well. A set may be in several lines, which add up. Siblings are the other
// concurrent values of a register, which has the value that counts first.
//
// The first and the last line are of files that Atoll has written: who begins
// with the one must end with the other, and so a file that was cut is found out. In
// files of other programs they may be missing. Nothing else is lenient: fields that
// are unknown, twice or of another type, text that is not UTF-8, and lines that are
// cut are refused, with the number of the line.
//
//	Line     an object, or a part of a set
//	Writer   writes a file
//	Reader   reads one
package transfer
