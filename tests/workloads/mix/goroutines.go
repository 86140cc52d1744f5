// Go's own calling convention and stacks: work in the main goroutine and in others.
//
// Go marks its frames by frame pointers, all but those of functions that call nothing. So where the tables are stripped
// too, nothing tells who called such a function: link with `-X main.bare=` to leave it out.
package main

import "runtime"

const stepsPerUnit = 3000000

var sink uint64

var bare = "yes"

//go:noinline
func done() { sink++ }

//go:noinline
func encodeRow() {
	state := sink
	for step := uint64(0); step < stepsPerUnit; step++ {
		state = state*6364136223846793005 + step
	}
	sink = state
	done()
}

//go:noinline
func bareRow() {
	state := sink
	for step := uint64(0); step < stepsPerUnit; step++ {
		state = state*4768777513237032717 + step
	}
	sink = state
}

//go:noinline
func decodeRow(room *[64]uint64) {
	state := sink
	for step := uint64(0); step < stepsPerUnit; step++ {
		state = state*3202034522624059733 + step
	}
	room[0] = state
	done()
}

//go:noinline
func hashRow() {
	state := sink
	for step := uint64(0); step < stepsPerUnit; step++ {
		state = state*3935559000370003845 + step
	}
	sink = state
	done()
}

//go:noinline
func encode() { encodeRow(); sink++ }

//go:noinline
func serveEncode() { encode(); sink++ }

//go:noinline
func serveBare() { bareRow(); sink++ }

//go:noinline
func decode() {
	var room [64]uint64
	decodeRow(&room)
	sink += room[0]
}

//go:noinline
func serveDecode() { decode(); sink++ }

//go:noinline
func hashAll(answer chan bool) {
	hashRow()
	answer <- true
}

// The work is done in a goroutine of its own, whose root is not the main one's.
//
//go:noinline
func serveHash() {
	answer := make(chan bool)
	go hashAll(answer)
	<-answer
}

type card struct {
	frames string
	cards  int
	play   func()
}

func main() {
	runtime.GOMAXPROCS(2)
	chains := []card{
		{"runtime.goexit;runtime.main;main.main;main.serveEncode;main.encode;main.encodeRow", 10, serveEncode},
		{"runtime.goexit;runtime.main;main.main;main.serveDecode;main.decode;main.decodeRow", 6, serveDecode},
		{"runtime.goexit;*;main.hashAll;main.hashRow", 4, serveHash},
	}
	if bare != "" {
		chains = append(chains, card{"runtime.goexit;runtime.main;main.main;main.serveBare;main.bareRow", 5, serveBare})
	}
	var deck []func()
	for _, chain := range chains {
		println("truth", chain.frames, chain.cards)
		for copy := 0; copy < chain.cards; copy++ {
			deck = append(deck, chain.play)
		}
	}
	random := uint64(0x9e3779b97f4a7c15)
	for {
		for last := len(deck) - 1; last > 0; last-- {
			random ^= random << 13
			random ^= random >> 7
			random ^= random << 17
			other := int(random % uint64(last+1))
			deck[last], deck[other] = deck[other], deck[last]
		}
		for _, play := range deck {
			play()
			sink++
		}
	}
}
