// A real library's goroutines: net/http, whose responses nobody closes. Each leaves a connection and the two goroutines
// that serve it, and the request itself is named by a word of a frame alone: its variable's location has ended.

package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

const requests = 12

func init() {
	add("leak_body", func() {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, strings.Repeat("payload ", 4000))
		}))
		for i := 0; i < requests; i++ {
			response, err := http.Get(fmt.Sprintf("http://%s/item/%d", listener.Addr(), i))
			must(err)
			_, err = response.Body.Read(make([]byte, 16)) // and no Close
			must(err)
		}
		time.Sleep(100 * time.Millisecond)
		truthf("live type=net/http.persistConn count=%d", requests)
		truthf("live type=net/http.transportRequest count=%d", requests)
		truthf("expect findings-at-warning=0")
	})
}
