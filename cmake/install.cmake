# What `make install` puts where, below CMAKE_INSTALL_PREFIX: command, man page, completions, schema. Front-ends add theirs
# in their own folders.
include(GNUInstallDirs)
install(TARGETS incident RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES docs/incident.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES docs/incident-report-1.schema.json docs/incident-triage-1.schema.json DESTINATION ${CMAKE_INSTALL_DATADIR}/incident)
install(FILES docs/completions/incident.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME incident)
install(FILES docs/completions/_incident DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES docs/completions/incident.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(DIRECTORY docs/examples DESTINATION ${CMAKE_INSTALL_DATADIR}/incident)
