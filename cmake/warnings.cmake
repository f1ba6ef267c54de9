# Warnings for our own targets only.
add_library(incident_warnings INTERFACE)
target_compile_options(incident_warnings INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast
                       -Wcast-qual -Wno-missing-field-initializers)
