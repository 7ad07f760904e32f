"""Studies: questions that one case cannot answer, each a rule, a JSON file and a finding."""
