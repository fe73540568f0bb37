// For the refusals: Go makes raw system calls, which no preloaded library sees.
package main

import "fmt"

func main() {
	fmt.Println("outside the context")
}
